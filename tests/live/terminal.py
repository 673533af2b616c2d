"""A program in a terminal: a pty, and what a vt100 would show of its output. Knows the sequences that ncurses sends for TERM=xterm and the like; any
other one is an error."""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
import unicodedata

from servers import wait_until

SEQUENCE = re.compile(r"\x1b(?:\[(?P<mode>[?>]?)(?P<numbers>[\d;]*)(?P<final>[@-~])|[()](?P<charset>.)|(?P<single>[78=>M]))")
UNFINISHED = re.compile(r"\x1b(?:\[[?>]?[\d;]*|[()])?$")


class Screen:
    """Rows of cells: `cells` are characters, `looks` the SGR numbers in force when each was written."""

    def __init__(self, columns, rows):
        self.row = self.column = 0
        self.saved = (0, 0)
        self.look = ()
        self.modes = set()  # private ones that are on: 1049 is the other screen, 25 the cursor
        self.modes.add(25)
        self.last = " "
        self.unread = ""
        self.cells, self.looks = [], []
        self.resize(columns, rows)

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells = [(line + columns * [" "])[:columns] for line in self.cells[:rows]]
        self.cells += [columns * [" "] for _ in range(rows - len(self.cells))]
        self.looks = [columns * [()] for _ in range(rows)]
        self.region = (0, rows - 1)
        self.row, self.column = min(self.row, rows - 1), min(self.column, columns - 1)

    def lines(self):
        return ["".join(line).rstrip() for line in self.cells]

    def text(self):
        return "\n".join(self.lines())

    def feed(self, text):
        text = self.unread + text
        self.unread = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._character(text[at])
                at += 1
                continue
            match = SEQUENCE.match(text, at)
            if not match and UNFINISHED.match(text, at):
                self.unread = text[at:]
                return
            assert match, f"no sequence of this terminal: {text[at:at + 20]!r}"
            self._sequence(match)
            at = match.end()

    def _character(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self._down()
        elif char == "\b":
            self._go(self.row, self._at() - 1)
        elif char in "\x0e\x0f\x07":
            pass
        else:
            assert char >= " ", f"a control character reached the terminal: {char!r}"
            self._put(char)

    def _down(self):
        if self.row == self.region[1]:
            self._scroll(1)
        else:
            self.row = min(self.row + 1, self.rows - 1)

    def _scroll(self, count):
        """Up by so many rows; negative: down."""
        first, last = self.region
        for _ in range(abs(count)):
            for rows, blank in ((self.cells, " "), (self.looks, ())):
                rows.pop(first if count > 0 else last)
                rows.insert(last if count > 0 else first, self.columns * [blank])

    def _put(self, char):
        wide = unicodedata.east_asian_width(char) in "WF"
        if self.column + wide >= self.columns:
            self.column = 0
            self._down()
        self.cells[self.row][self.column] = char
        self.looks[self.row][self.column] = self.look
        self.column += 1
        if wide:
            self.cells[self.row][self.column] = ""
            self.column += 1
        self.last = char

    def _erase(self, row, begin, end):
        self.cells[row][begin:end] = (end - begin) * [" "]
        self.looks[row][begin:end] = (end - begin) * [()]

    def _sequence(self, match):
        if match["charset"]:
            return
        if match["single"]:
            self._single(match["single"])
            return
        numbers = [int(number or 0) for number in match["numbers"].split(";")]
        if match["mode"]:
            if match["final"] in "hl":
                (self.modes.update if match["final"] == "h" else self.modes.difference_update)(numbers)
            return
        self._control(match["final"], numbers, max(1, numbers[0]))

    def _single(self, final):
        if final == "7":
            self.saved = (self.row, self.column)
        elif final == "8":
            self.row, self.column = self.saved
        elif final == "M":
            if self.row == self.region[0]:
                self._scroll(-1)
            else:
                self.row -= 1

    def _at(self):
        """The cursor's column; behind the last one it waits there for what comes."""
        return min(self.column, self.columns - 1)

    def _control(self, final, numbers, count):
        if final in "Hf":
            self._go(count - 1, max(1, numbers[1] if len(numbers) > 1 else 1) - 1)
        elif final in "ABCDGd":
            row, column = {"A": (self.row - count, self._at()), "B": (self.row + count, self._at()), "C": (self.row, self._at() + count),
                           "D": (self.row, self._at() - count), "G": (self.row, count - 1), "d": (count - 1, self._at())}[final]
            self._go(row, column)
        elif final == "J":
            assert numbers[0] in (0, 2), "erases a part that no test needs"
            if numbers[0] == 0:
                self._erase(self.row, self.column, self.columns)
            for row in range(self.row + 1 if numbers[0] == 0 else 0, self.rows):
                self._erase(row, 0, self.columns)
        elif final == "K":
            self._erase(self.row, *((self.column, self.columns), (0, self.column + 1), (0, self.columns))[numbers[0]])
        elif final == "X":
            self._erase(self.row, self.column, min(self.column + count, self.columns))
        elif final in "P@":
            for cells, blank in ((self.cells[self.row], " "), (self.looks[self.row], ())):
                for _ in range(count):
                    cells.pop(self.column if final == "P" else -1)
                    cells.insert(self.columns - 1 if final == "P" else self.column, blank)
        elif final in "ML":
            kept, self.region = self.region, (self.row, self.region[1])
            self._scroll(count if final == "M" else -count)
            self.region = kept
        elif final in "ST":
            self._scroll(count if final == "S" else -count)
        elif final == "b":
            for _ in range(count):
                self._put(self.last)
        elif final == "r":
            self.region = (count - 1, (numbers[1] if len(numbers) > 1 and numbers[1] else self.rows) - 1)
            self._go(0, 0)
        elif final == "m":
            self.look = () if numbers == [0] else self.look + tuple(numbers)
        else:
            assert final in "hlt", f"no sequence of this terminal: CSI {numbers} {final}"

    def _go(self, row, column):
        self.row = min(max(row, 0), self.rows - 1)
        self.column = min(max(column, 0), self.columns - 1)


class Terminal:
    """Runs the words in a pty of so many columns and rows. Use as a context manager."""

    def __init__(self, words, columns=80, rows=24, **environment):
        self.screen = Screen(columns, rows)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.output = b""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "LC_ALL")}
            os.execvpe(words[0], words, {**kept, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC", **environment})
        self.settings = termios.tcgetattr(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read(self, seconds=0.05):
        """Takes what the program has written, and what it writes within this time."""
        end = time.monotonic() + seconds
        while select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:  # it has ended
                return
            if not piece:
                return
            self.output += piece
            self.screen.feed(self.decoder.decode(piece))

    def text(self):
        self.read()
        return self.screen.text()

    def wait(self, *texts, seconds=30):
        """Waits until all of them are on the screen; the screen."""
        try:
            return wait_until(lambda: all(text in self.text() for text in texts) and self.screen.text(), seconds, f"{texts}")
        except TimeoutError as error:
            raise AssertionError(f"{error}; the screen:\n{self.screen.text()}") from None

    def wait_gone(self, text, seconds=30):
        wait_until(lambda: text not in self.text(), seconds, f"the end of {text!r} on the screen")

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def resize(self, columns, rows):
        self.read()
        self.screen.resize(columns, rows)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self, seconds=30):
        """Waits for the end of the program: its exit status, as subprocess gives it."""
        def ended():
            self.read(0.01)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            return pid
        wait_until(ended, seconds, "the end of the program")
        self.read(0.01)
        return self.status

    def restored(self):
        """Is the terminal as the program found it?"""
        return termios.tcgetattr(self.fd) == self.settings and 1049 not in self.screen.modes and 25 in self.screen.modes
