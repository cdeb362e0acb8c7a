"""Print the requirements of some extras of pyproject.toml, one a line: what an image installs before the code."""

from __future__ import annotations

import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
for extra in sys.argv[1:]:
    print(*project["optional-dependencies"][extra], sep="\n")
print(*project["dependencies"], sep="\n")
