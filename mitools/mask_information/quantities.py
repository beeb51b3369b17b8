"""What is bounded, in the words in which answers say it."""

DATA = "I(mask; data | init)"
NOISE = "I(mask; label noise | inputs, init)"
"""Never more than `DATA`, by the chain rule: bounds from below on one hold for the other."""

THIS_MASK = "the limit is one on this mask's own information, -log P(mask | init), whose mean is I"
THIS_MASK_AND_ON_AVERAGE = (
    "the limit is exact for this mask's own information, -log P(mask | init); for its mean, I, "
    "it takes what different points give away as independent"
)
