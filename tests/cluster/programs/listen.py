# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import socket
import sys
import time

signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    time.sleep(3600)
