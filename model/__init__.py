"""The network, its published building blocks, and what runs it. Importing this loads nothing heavy."""

import os

# ONNX Runtime tells its makers of every process and model since 1.29, and keeps an id of the machine in the home,
# unless this stands before its first import. Set it to 0 to let it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
