"""The boundary: untrusted input becomes checked arrays, or an error that says what to change."""


class FileFormatError(ValueError):
    """A file or text does not hold what it should: corrupt, cut short, or of another kind."""


class MaskError(ValueError):
    """A mask that does not fit its model, or is no mask at all."""
