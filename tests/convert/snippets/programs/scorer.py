"""MODEL: scores images that come on stdin, `SIGNATURE COUNT` and COUNT bytes each, one line for each on stdout."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
while line := sys.stdin.buffer.readline():
    signature, count = line.split()
    run = interpreter.get_signature_runner(signature.decode())
    shape = run.get_input_details()["image"]["shape"]
    rgb = np.frombuffer(sys.stdin.buffer.read(int(count)), np.uint8).reshape(shape)
    print(float(run(image=rgb)["score"][0]), flush=True)
