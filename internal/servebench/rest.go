package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"time"
)

// restCaller is a minimal HTTP/1.1 client: it writes the bytes of one request
// repeatedly to one connection. net/http's client uses more processor time than the
// measured servers and would hide their cost.
type restCaller struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
}

// callerMax bounds the life of a connection, which is one round of one load: a
// server that takes longer is broken, not slow.
const callerMax = 20 * time.Second

// restRequest writes out a request.
func restRequest(path string, header map[string]string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n", path, len(body))
	for name, value := range header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// openREST opens connections to addr for one request.
func openREST(addr string, request []byte) opener {
	return func() (caller, error) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(time.Now().Add(callerMax)); err != nil {
			return nil, err
		}
		return &restCaller{conn: conn, reader: bufio.NewReader(conn), request: request}, nil
	}
}

func (c *restCaller) close() { _ = c.conn.Close() }

func (c *restCaller) exchange() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	return readAnswer(c.reader, nil)
}

var (
	success    = []byte("HTTP/1.1 200 ")
	lengthName = []byte("Content-Length: ")
)

// readAnswer reads one answer of a known length to its end. keep, if not nil,
// takes the body.
func readAnswer(r *bufio.Reader, keep *[]byte) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, success) {
		return unexpectedAnswer(line)
	}
	length := -1
	for len(line) > len("\r\n") {
		if line, err = r.ReadSlice('\n'); err != nil {
			return err
		}
		if text, ok := bytes.CutPrefix(line, lengthName); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("the answer does not say how long it is")
	}
	if keep == nil {
		_, err = r.Discard(length)
		return err
	}
	*keep = make([]byte, length)
	for at := 0; at < length; {
		n, err := r.Read((*keep)[at:])
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}
