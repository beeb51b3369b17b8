"""Numbers as a reader wants them: short, and with their units where they vary."""

import math


def nats(value: float, signed: bool = False) -> str:
    """Return nats to three decimals, large ones to three digits."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    size = abs(value)
    digits = 3 if size < 9.9995 else 2 if size < 99.995 else 1 if size < 999.95 else 0
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    if float(text.replace(",", "")) == 0.0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def brief(value: float) -> str:
    """Return a signed number in about four characters, for crowded tables."""
    if not math.isfinite(value):
        return nats(value)
    size = abs(value)
    if size < 0.995:
        text = f"{value:+.2f}".replace("0.", ".")
    elif size < 9.95:
        text = f"{value:+.1f}"
    else:
        text = f"{value:+.0f}" if size < 9_999.5 else f"{value:+.0e}".replace("e+0", "e")
    return "0" if text in ("+.00", "-.00") else text.replace("-", "−")


def seconds(value: float) -> str:
    """Return a time in ms or s; below a millisecond to two digits."""
    if math.isnan(value):
        return "–"
    if value < 0.995e-3:
        return f"{1e3 * value:.2g} ms" if value >= 1e-6 else "< 0.001 ms"
    if value < 0.9995:
        return f"{1e3 * value:.{2 if value < 9.995e-3 else 1 if value < 0.09995 else 0}f} ms"
    return f"{value:,.{1 if value < 99.95 else 0}f} s"


def memory(value: float) -> str:
    """Return bytes in MB."""
    return "–" if math.isnan(value) else f"{value / 1e6:,.{1 if value < 9.95e6 else 0}f} MB"


def percent(hits: float, of: float) -> str:
    """Return a share in percent."""
    return "–" if not of else f"{100.0 * hits / of:.0f}%"


def count(value: float, what: str) -> str:
    """Return a number of things."""
    return f"{value:,.0f} {what}{'' if value == 1 else 's'}"
