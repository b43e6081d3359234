"""MODEL: LiteRT for the JVM's stand-in. On stdin, as Java writes data: inputs, then names of outputs, "" at the end."""

import struct
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

source, sink = sys.stdin.buffer, sys.stdout.buffer
run = Interpreter(model_path=sys.argv[1], num_threads=1).get_signature_runner("serving_default")
details = run.get_input_details()


def number(pattern: str) -> int:
    data = source.read(struct.calcsize(pattern))
    if not data:
        sys.exit()
    return struct.unpack(pattern, data)[0]


def name() -> str:
    return source.read(number(">H")).decode()


while True:
    inputs = {}
    for _ in range(number(">i")):
        key = name()
        data = source.read(number(">i"))
        inputs[key] = np.frombuffer(data, details[key]["dtype"]).reshape(details[key]["shape"])
    outputs = run(**inputs)
    while key := name():
        values = outputs[key].astype("<f4").tobytes()
        sink.write(struct.pack(">i", len(values)) + values)
        sink.flush()
