"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Bad input: the message names the file or setting, what is wrong with it, and what to do.

    The command line prints it on one line without a traceback and exits with code 2.
    """
