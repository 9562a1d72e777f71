package kind

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a client can be told instead of an answer.
var (
	errRefused = errors.New("refused")
	errSilent  = errors.New("silent")
)

// retransmit is when a client sends again what has got no answer, as TCP does with
// the first packet, and resolvers over UDP.
const retransmit = time.Second

// talk is one TCP connection or UDP flow to agnhost's netexec, which answers to
// "hostname" with the pod's name, and to "clientip" with whom it sees.
type talk struct {
	net.Conn
	in       *bufio.Reader
	patience time.Duration
	late     bool // a packet had to be sent again
}

// begin starts a talk from the network namespace of the calling thread.
func begin(protocol string, to netip.AddrPort, patience time.Duration) (*talk, error) {
	start := time.Now()
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.Dial(protocol, to.String())
	if err != nil {
		return nil, sorted(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // closing leaves no port in TIME_WAIT
	}
	return &talk{Conn: conn, in: bufio.NewReader(conn), patience: patience, late: time.Since(start) > retransmit*9/10}, nil
}

// ask sends one question and returns the answer.
func (t *talk) ask(question string) (answer string, err error) {
	deadline := time.Now().Add(t.patience)
	if _, tcp := t.Conn.(*net.TCPConn); tcp {
		answer, err = t.askHTTP(question, deadline)
	} else {
		answer, err = t.askUDP(question, deadline)
	}
	if err == nil && answer == "" {
		err = errors.New("the answer is empty")
	}
	return answer, sorted(err)
}

func (t *talk) askHTTP(question string, deadline time.Time) (string, error) {
	if err := t.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(t, "GET /%s HTTP/1.1\r\nHost: server\r\n\r\n", question); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(t.in, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %q", response.Status, body)
	}
	return string(body), err
}

// askUDP sends the question again once when there is no answer.
func (t *talk) askUDP(question string, deadline time.Time) (string, error) {
	buf := make([]byte, 512)
	for _, until := range []time.Time{time.Now().Add(retransmit), deadline} {
		if err := t.SetDeadline(until); err != nil {
			return "", err
		}
		// What is rejected on the node itself can't be sent; why, comes to the reader.
		if _, err := t.Write([]byte(question)); err != nil && !errors.Is(err, unix.EPERM) {
			return "", err
		}
		n, err := t.Read(buf)
		if err == nil {
			return string(buf[:n]), nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return "", err
		}
		t.late = true
	}
	return "", os.ErrDeadlineExceeded
}

// sorted makes errors that tests compare the same for both protocols.
func sorted(err error) error {
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w (%w)", errRefused, err)
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("%w (%w)", errSilent, err)
	}
	return err
}

// answer is what one request is told.
type answer struct {
	pod    string
	client netip.Addr // whom the pod sees
	own    netip.Addr // whom the client believes to be
}

// askOnce asks over a new connection or flow, from a place.
func (p *place) askOnce(protocol string, to netip.AddrPort) (answer, error) {
	return p.askWithin(patience, protocol, to)
}

func (p *place) askWithin(patience time.Duration, protocol string, to netip.AddrPort) (a answer, err error) {
	err = p.Do(func() error {
		t, err := begin(protocol, to, patience)
		if err != nil {
			return err
		}
		defer func() { _ = t.Close() }()
		if a.pod, err = t.ask("hostname"); err != nil {
			return err
		}
		client, err := t.ask("clientip")
		if err != nil {
			return err
		}
		seen, err := netip.ParseAddrPort(strings.TrimSpace(client))
		if err != nil {
			return err
		}
		own, err := netip.ParseAddrPort(t.LocalAddr().String())
		a.client, a.own = seen.Addr().Unmap(), own.Addr().Unmap()
		return err
	})
	return a, err
}
