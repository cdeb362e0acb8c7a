"""The one error type that bad input raises anywhere in this project."""


class InputError(ValueError):
    """Bad input, told in one line: where it stands, what was expected, what was found, what to do.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, *, where: str, expected: str, found: str, fix: str) -> None:
        self.where = where
        self.expected = expected
        self.found = found
        self.fix = fix
        super().__init__(f"{where}: expected {expected}, found {found}. {fix}")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would be lost when the error crosses a process border.
        return (_rebuild, (self.where, self.expected, self.found, self.fix))


def _rebuild(where: str, expected: str, found: str, fix: str) -> InputError:
    return InputError(where=where, expected=expected, found=found, fix=fix)
