#!/usr/bin/env python3
"""The loops of driver_floor.c with PyMongo: driver_peer.py read|project|transform URI DB COUNT [TAG]"""
import sys

import pymongo

BATCH = 1000


def label(tag, n, name):
    return f"{tag}:{n}:{name.lower()}"


def main(mode, uri, database, count, tag=""):
    if not pymongo.has_c():
        sys.exit("driver_peer.py: this PyMongo lacks its C extension")
    items = pymongo.MongoClient(uri)[database].items
    projection = None if mode == "read" else {"_id": 1, "n": 1, "name": 1}
    total, pending = 0, []
    for doc in items.find({"n": {"$lt": int(count)}}, projection, batch_size=BATCH):
        n, name = doc["n"], doc["name"]
        total += n * ord(name[n % len(name)])
        if mode != "transform":
            continue
        pending.append(pymongo.UpdateOne({"_id": doc["_id"]}, {"$set": {"label": label(tag, n, name)}}))
        if len(pending) == BATCH:
            items.bulk_write(pending, ordered=False)
            pending = []
    if pending:
        items.bulk_write(pending, ordered=False)
    print(total)


main(*sys.argv[1:])
