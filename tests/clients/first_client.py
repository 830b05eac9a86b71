"""Calls a client whose address is built in: `address port MODULE FUNCTION JSON_ARGUMENTS [KEY]`.

The client, its TLS and its trust are left as they are: only the name it knows leads elsewhere, as
an operator's DNS would have it.
"""

import importlib
import json
import socket
import sys
from typing import Any

name, port, module, function, arguments, *key = sys.argv[1:]
connect = socket.create_connection


def to_this_machine(address: tuple[str, int], *rest: Any, **options: Any) -> socket.socket:
    return connect(("127.0.0.1", int(port)) if address[0] == name else address, *rest, **options)


socket.create_connection = to_this_machine  # type: ignore[assignment]
if key:
    importlib.import_module("StableDiffusionAPI").Key(*key)
getattr(importlib.import_module(module), function)(*json.loads(arguments))
