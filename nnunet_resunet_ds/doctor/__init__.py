"""Examine what is installed, found, fast and wrong on this machine (``resunet-ds doctor``)."""
