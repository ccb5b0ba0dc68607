#!/usr/bin/env python3
"""boto3's side of the S3 benches: s3_peer.py move BUCKET FROM TO | list BUCKET PREFIX FILE. What s3_floor.c does, by 16 threads."""
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

IN_FLIGHT = 16


def connect():
    return boto3.client("s3", endpoint_url=os.environ["SMARTMIGRATION_TEST_S3_ENDPOINT"],
                        config=Config(max_pool_connections=IN_FLIGHT, s3={"addressing_style": "path"}))


def objects(s3, bucket, prefix):
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", ())


def refuse_existing(s3, bucket, key):
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return
        raise
    raise FileExistsError(key)


def move_one(s3, bucket, key, target):
    source = s3.head_object(Bucket=bucket, Key=key)
    refuse_existing(s3, bucket, target)
    copy = s3.copy_object(Bucket=bucket, Key=target, CopySource={"Bucket": bucket, "Key": key},
                          CopySourceIfMatch=source["ETag"])
    if copy["CopyObjectResult"]["ETag"] != source["ETag"]:
        raise ValueError(f"the copy of {key} is another object")
    s3.delete_object(Bucket=bucket, Key=key)


def move(s3, bucket, start, target):
    keys = [row["Key"] for row in objects(s3, bucket, start)]
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for _ in pool.map(lambda key: move_one(s3, bucket, key, target + key[len(start):]), keys):
            pass


def list_to_file(s3, bucket, prefix, path):
    with open(path, "w", encoding="utf-8") as file:
        for row in objects(s3, bucket, prefix):
            file.write(f"{row['Key']} {row['Size']} {row['ETag'][1:-1]}\n")


def main():
    mode, bucket, first, second = sys.argv[1:]
    {"move": move, "list": list_to_file}[mode](connect(), bucket, first, second)


main()
