#!/usr/bin/env python3
"""Pushes orders into a queue of sluice: push.py QUEUE < orders.jsonl

One JSON object a line. An order without an id gets one, so that a push whose answer got lost can be repeated; give the queue
`mode = ignore` and a unique key, and the second one changes nothing. What Redis has not acknowledged within PUSH_SECONDS (60) goes
to stdout, and the exit status is 1: nothing is lost, run it again with that. REDIS_URL says where Redis is.

Needs redis-py: apt-get install python3-redis
"""

import json
import os
import random
import sys
import time
import uuid

import redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
SECONDS = float(os.environ.get("PUSH_SECONDS", "60"))
# Time does not heal these: a wrong key, a wrong login, a missing right.
FINAL = (redis.AuthenticationError, redis.exceptions.NoPermissionError)


def with_id(line):
    """The order with an id; its other bytes stay as they are, so that 12.10 remains 12.10."""
    if "id" in json.loads(line):
        return line
    rest = line[1:].lstrip()
    return '{"id": "%s"%s%s' % (uuid.uuid4(), "" if rest.startswith("}") else ", ", rest)


def is_final(error):
    return isinstance(error, FINAL) or str(error).startswith("WRONGTYPE")


def push(client, queue, order):
    """Returns when Redis has answered; raises what stood in the way all the time. OOM, LOADING and broken connections pass."""
    deadline = time.monotonic() + SECONDS
    wait = 0.05
    while True:
        try:
            return client.lpush(queue, order)
        except redis.RedisError as error:
            if is_final(error) or time.monotonic() + wait > deadline:
                raise
            print(f"not acknowledged, trying again: {error}", file=sys.stderr)
        time.sleep(wait * random.uniform(0.5, 1))  # or all producers come back at once
        wait = min(2 * wait, 5)


def main():
    client = redis.Redis.from_url(URL, socket_timeout=5, socket_connect_timeout=5)
    failed = False
    for line in sys.stdin:
        order = with_id(line.strip())
        try:
            if not failed:
                push(client, sys.argv[1], order)
        except redis.RedisError as error:
            print(f"giving up: {error}", file=sys.stderr)
            failed = True
        if failed:
            print(order)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
