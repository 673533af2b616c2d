"""Orders for tests: the table, the messages, and the audit that every order arrived exactly once."""

import base64
import collections
import contextlib
import json
import re

# No unique index, on purpose: a row that comes twice shall be seen, not refused.
TABLES = {
    "postgresql": """CREATE TABLE {table} (id bigint NOT NULL, customer text NOT NULL, total numeric(12,2) NOT NULL, placed_at timestamptz,
        note varchar(40), quantity int, paid boolean NOT NULL DEFAULT false, items jsonb)""",
    "mysql": """CREATE TABLE {table} (id bigint NOT NULL, customer varchar(80) NOT NULL, total decimal(12,2) NOT NULL, placed_at datetime(3),
        note varchar(40), quantity int, paid boolean NOT NULL DEFAULT false, items json) ENGINE=InnoDB""",
}

GOOD = ('{"id":%d,"customer":"customer %d","total":%d.10,"placed_at":"2024-05-06T07:08:09.123Z","note":"as usual","quantity":3,'
        '"items":[{"sku":"A-17","quantity":3}]}')

# Each sort of bad order, still with its id to be found by.
BAD = [
    '{"id":%d,"customer":"cut off","total":1',
    '[{"id":%d}]',
    '{"id":%d,"customer":"no number","total":"twelve"}',
    '{"id":%d,"customer":null,"total":1.00}',
    '{"id":%d,"customer":"long note","total":1.00,"note":"' + 60 * "x" + '"}',
    '{"id":%d,"customer":"too many","total":1.00,"quantity":99999999999}',
    '{"id":%d,"customer":"half a pair \\ud800","total":1.00}',
]

# Numbers of rows and dead letters; the ids that are in neither, in more than one place, and those that nobody pushed.
Account = collections.namedtuple("Account", "rows dead lost twice strange")

ID = re.compile(rb'"id":\s*(\d+)')
PUSH_CHUNK = 1000


def make_table(db, table="orders"):
    """Makes it as the daemon's own user, as a shop would."""
    db.user_execute(TABLES[db.driver].format(table=table))


@contextlib.contextmanager
def locked_table(db):
    """Somebody else's lock on the table, until the end of the block, however it ends."""
    with contextlib.closing(db.client()) as connection:
        cursor = connection.cursor()
        if db.driver == "postgresql":
            connection.autocommit = False
        cursor.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE" if db.driver == "postgresql" else "LOCK TABLES orders WRITE")
        yield


def order(number):
    return GOOD % (number, number % 1000, number % 500)


def bad_order(number):
    return BAD[number // 100 % len(BAD)] % number


def is_bad(number, bad_every):
    return bad_every > 0 and number % bad_every == 0


def push(client, key, numbers, bad_every=0, side="left"):
    """Pushes orders of these numbers, each bad_every-th of a bad sort; returns the numbers as a list."""
    numbers = list(numbers)
    command = client.lpush if side == "left" else client.rpush
    for begin in range(0, len(numbers), PUSH_CHUNK):
        chunk = numbers[begin:begin + PUSH_CHUNK]
        command(key, *[bad_order(number) if is_bad(number, bad_every) else order(number) for number in chunk])
    return numbers


def dead_letters(client, key):
    """The dead letters of a queue's key, as dictionaries, `payload` as bytes."""
    letters = []
    for text in client.lrange("{%s}:dead" % key, 0, -1):
        letter = json.loads(text)
        payload = letter["payload"].encode()
        letter["payload"] = base64.b64decode(payload) if letter.get("encoding") == "base64" else payload
        letters.append(letter)
    return letters


def account(client, db, pushed, key="orders", table="orders"):
    """Where the pushed orders are now, by SQL and by the list of dead letters, not by what the daemon says."""
    rows = [number for (number,) in db.query(f"SELECT id FROM {table}")]
    dead = [int(ID.search(letter["payload"])[1]) for letter in dead_letters(client, key)]
    found = collections.Counter(rows) + collections.Counter(dead)
    pushed = set(pushed)
    return Account(len(rows), len(dead), sorted(pushed - found.keys()), sorted(number for number, times in found.items() if times > 1),
                   sorted(found.keys() - pushed))


def audit(client, db, pushed, key="orders", table="orders"):
    """Every order is one row or one dead letter, and nothing else is. Returns (rows, dead letters)."""
    found = account(client, db, pushed, key, table)
    verdict = f"lost {len(found.lost)} {found.lost[:10]}, twice {len(found.twice)} {found.twice[:10]}, never pushed {found.strange[:10]}"
    assert not found.lost and not found.twice and not found.strange, verdict
    return found.rows, found.dead
