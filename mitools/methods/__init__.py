"""Methods: frozen values that know how to estimate, one family a module."""
