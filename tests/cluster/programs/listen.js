// Copyright (c) 2026, The meshops.istio_precheck authors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

'use strict';

const http = require('http');

const [host, port] = process.argv.slice(2);
http.createServer((request, response) => response.end('ok\n')).listen(Number(port), host);
process.on('SIGTERM', () => process.exit());
