// Copyright (c) 2026, The meshops.istio_precheck authors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Both ends of a connection, for a mesh.
//
//	reach serve http=ADDRESS tcp=ADDRESS ...   answers each HTTP request with 200, each line on TCP with the same line
//	reach http ADDRESS HOST                    prints the status of one HTTP/1.1 request, or why there is none
//	reach tcp ADDRESS                          prints the answer to one line, or why there is none
//	reach sleep
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const patience = 5 * time.Second

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	switch os.Args[1] {
	case "http":
		fmt.Println(askHTTP(os.Args[2], os.Args[3]))
		return
	case "tcp":
		fmt.Println(askTCP(os.Args[2]))
		return
	case "serve":
		for _, argument := range os.Args[2:] {
			protocol, address, _ := strings.Cut(argument, "=")
			listener, err := net.Listen("tcp", address)
			if err != nil {
				log.Fatal(err)
			}
			if protocol == "http" {
				go http.Serve(listener, http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
					fmt.Fprintln(answer, "reached", address)
				}))
			} else {
				go serveTCP(listener)
			}
		}
	}
	<-ended
}

func serveTCP(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			io.Copy(connection, connection)
		}()
	}
}

func askHTTP(address, host string) string {
	request, err := http.NewRequest("GET", "http://"+address+"/", nil)
	if err != nil {
		return err.Error()
	}
	request.Host = host
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	answer.Body.Close()
	return fmt.Sprint(answer.StatusCode)
}

func askTCP(address string) string {
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(connection, "hello")
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return "no answer: " + err.Error()
	}
	return strings.TrimSpace(line)
}
