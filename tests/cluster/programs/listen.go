// Copyright (c) 2026, The meshops.istio_precheck authors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Listen on every argument that is an address, and on nothing where none is: then it only sleeps.
package main

import (
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	for _, address := range os.Args[1:] {
		if !strings.Contains(address, ":") {
			continue
		}
		if _, err := net.Listen("tcp", address); err != nil {
			log.Fatal(err)
		}
	}
	<-ended
}
