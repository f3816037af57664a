"""Say how many there are of something."""


def counted(number: int, noun: str, ending: str = "s") -> str:
    """Return the number with the noun, such as ``1 case`` and ``2 cases``; the ending is that of more than one."""
    return f"{number} {noun}{'' if number == 1 else ending}"
