"""Where a wheel put its program.

What the program is called with belongs to the server's file.
"""

import shutil
import sysconfig

from marketdata_assets.local.errors import MissingWheel


def program(file: str, name: str, wheel: str) -> str:
    """The absolute path of a program in this environment's own scripts folder; raises MissingWheel.

    PATH is not searched: another installation's server would open our data.
    """
    found = shutil.which(file, path=sysconfig.get_path("scripts"))
    if found is None:
        raise MissingWheel(name, wheel)
    return found
