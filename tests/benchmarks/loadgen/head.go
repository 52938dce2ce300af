package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	answerMax = 1 << 14
	waitMs    = 100
)

// head asks for one path by HEAD for some seconds. One loop around epoll does it, as in wrk, which does the same for GET
// but waits for the body that an answer to HEAD does not have: with net/http, or a goroutine for each connection, the
// load takes half as much of the processor again, and the more from a server the faster it is.
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
	asking, err := newAsking(parsed.Host, *open, headRequest(parsed, *authorization))
	if err != nil {
		return nil, err
	}
	return asking.until(time.Now().Add(*lasting))
}

func headRequest(target *url.URL, authorization string) []byte {
	lines := []string{"HEAD " + target.RequestURI() + " HTTP/1.1", "Host: " + target.Host, "Accept: " + manifestType}
	if authorization != "" {
		lines = append(lines, "Authorization: "+authorization)
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// asked is one connection, with as much of an answer as has come.
type asked struct {
	file    *os.File // which would close it when nothing holds it any more
	fd      int
	started time.Time
	answer  []byte
}

// asking is the loop over all connections.
type asking struct {
	poll        int
	request     []byte
	connections []*asked
	tally       *Tally
}

func newAsking(host string, open int, request []byte) (*asking, error) {
	poll, err := syscall.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	loop := &asking{poll: poll, request: request, tally: newTally()}
	for number := range open {
		connection, err := net.Dial("tcp", host)
		if err != nil {
			return nil, err
		}
		file, err := connection.(*net.TCPConn).File()
		connection.Close()
		if err != nil {
			return nil, err
		}
		one := &asked{file: file, fd: int(file.Fd()), answer: make([]byte, 0, answerMax)}
		loop.connections = append(loop.connections, one)
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(number)}
		if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, one.fd, &event); err != nil {
			return nil, err
		}
	}
	return loop, nil
}

func (a *asking) until(end time.Time) (*Outcome, error) {
	for _, one := range a.connections {
		if err := a.ask(one, time.Now()); err != nil {
			return nil, err
		}
	}
	events := make([]syscall.EpollEvent, len(a.connections))
	for waiting := len(a.connections); waiting > 0; {
		ready, errno := waitFor(a.poll, events)
		if errno != 0 && errno != syscall.EINTR {
			return nil, errno
		}
		for _, event := range events[:ready] {
			one := a.connections[event.Fd]
			isWhole, err := one.read()
			if err != nil {
				return nil, err
			}
			if !isWhole {
				continue
			}
			now := time.Now()
			a.tally.Add(one.started, 0, refusedHead(one.answer))
			if now.After(end) {
				waiting--
			} else if err := a.ask(one, now); err != nil {
				return nil, err
			}
		}
	}
	return a.tally.Outcome(), nil
}

func (a *asking) ask(one *asked, now time.Time) error {
	one.started, one.answer = now, one.answer[:0]
	if sent, errno := transfer(syscall.SYS_WRITE, one.fd, a.request); errno != 0 || sent != len(a.request) {
		return fmt.Errorf("HEAD: %d bytes sent: %w", sent, errno)
	}
	return nil
}

// read reads what there is; whether the answer is whole with it.
func (o *asked) read() (bool, error) {
	got, errno := transfer(syscall.SYS_READ, o.fd, o.answer[len(o.answer):cap(o.answer)])
	if errno != 0 || got == 0 {
		return false, fmt.Errorf("HEAD: the connection ended: %w", errno)
	}
	o.answer = o.answer[:len(o.answer)+got]
	return bytes.HasSuffix(o.answer, []byte("\r\n\r\n")), nil
}

// refusedHead is nil for a 200.
func refusedHead(answer []byte) error {
	if bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		return nil
	}
	status, _, _ := bytes.Cut(answer, []byte("\r\n"))
	return fmt.Errorf("HEAD: %s", status)
}

// transfer and waitFor call the kernel without telling Go's scheduler, which has nothing else to run meanwhile.
func transfer(call uintptr, fd int, content []byte) (int, syscall.Errno) {
	count, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&content[0])), uintptr(len(content)))
	return int(count), errno
}

func waitFor(poll int, events []syscall.EpollEvent) (int, syscall.Errno) {
	first := uintptr(unsafe.Pointer(&events[0]))
	ready, _, errno := syscall.RawSyscall6(
		syscall.SYS_EPOLL_PWAIT, uintptr(poll), first, uintptr(len(events)), waitMs, 0, 0,
	)
	if errno != 0 {
		return 0, errno
	}
	return int(ready), 0
}
