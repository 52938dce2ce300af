package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// head asks for one path by HEAD for some seconds. It writes to the sockets itself, for less of the processor than
// net/http takes; wrk does the same for GET, but waits for the body that an answer to HEAD does not have.
func head(flags *flag.FlagSet, arguments []string) (*Outcome, error) {
	target := flags.String("url", "", "what to ask for, http://HOST:PORT/PATH")
	authorization := flags.String("authorization", "", "the header of that name; empty: none")
	open := flags.Int("connections", 16, "connections, each with one request at a time")
	lasting := flags.Duration("for", time.Second, "how long")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	parsed, err := url.Parse(*target)
	if err != nil {
		return nil, err
	}
	request := headRequest(parsed, *authorization)
	tally, until := newTally(), time.Now().Add(*lasting)
	var asking sync.WaitGroup
	for range *open {
		asking.Add(1)
		go func() {
			defer asking.Done()
			if err := headUntil(until, parsed.Host, request, tally); err != nil {
				tally.Add(time.Now(), 0, err)
			}
		}()
	}
	asking.Wait()
	return tally.Outcome(), nil
}

func headRequest(target *url.URL, authorization string) []byte {
	lines := []string{"HEAD " + target.RequestURI() + " HTTP/1.1", "Host: " + target.Host, "Accept: " + manifestType}
	if authorization != "" {
		lines = append(lines, "Authorization: "+authorization)
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

func headUntil(until time.Time, host string, request []byte, tally *Tally) error {
	connection, err := net.Dial("tcp", host)
	if err != nil {
		return err
	}
	defer connection.Close()
	answers := bufio.NewReader(connection)
	for time.Now().Before(until) {
		started := time.Now()
		if _, err := connection.Write(request); err != nil {
			return err
		}
		tally.Add(started, 0, readHead(answers))
	}
	return nil
}

// readHead reads an answer's headers. Anything but a 200 is an error.
func readHead(answers *bufio.Reader) error {
	status, err := answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	isOK, shown := bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")), string(bytes.TrimSpace(status))
	for {
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
	}
	if !isOK {
		return fmt.Errorf("HEAD: %s", shown)
	}
	return nil
}
