package nfnetlink

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// datagram is messages of one type, each with a body.
func datagram(bodies ...string) (b []byte) {
	for i, body := range bodies {
		b = append(b, make([]byte, Align(len(b))-len(b))...)
		b = binary.NativeEndian.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
		b = binary.NativeEndian.AppendUint16(b, unix.NLMSG_ERROR)
		b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_CAPPED)
		b = binary.NativeEndian.AppendUint32(b, uint32(i))
		b = binary.NativeEndian.AppendUint32(b, 7)
		b = append(b, body...)
	}
	return b
}

func TestMessages(t *testing.T) {
	var got []string
	err := Messages(datagram("four", "five5", ""), func(m Message) error {
		if m.Type != unix.NLMSG_ERROR || m.Flags != unix.NLM_F_CAPPED || m.Port != 7 || int(m.Seq) != len(got) {
			t.Errorf("message %d is %+v", len(got), m)
		}
		got = append(got, string(m.Body))
		return nil
	})
	if err != nil || len(got) != 3 || got[0] != "four" || got[1] != "five5" || got[2] != "" {
		t.Errorf("%q, %v", got, err)
	}
	whole := datagram("four")
	if err := Messages(whole[:len(whole)-1], func(Message) error { return nil }); !errors.Is(err, ErrTruncated) {
		t.Errorf("a message that ends too soon: %v", err)
	}
	stop := errors.New("stop")
	if err := Messages(datagram("", ""), func(m Message) error {
		if m.Seq > 0 {
			t.Error("goes on after an error")
		}
		return stop
	}); !errors.Is(err, stop) {
		t.Errorf("%v, want what the function gave", err)
	}
}

func TestErrno(t *testing.T) {
	refused := int32(-int32(unix.ENOENT))
	m := Message{Body: binary.NativeEndian.AppendUint32(nil, uint32(refused))}
	if errno, err := m.Errno(); errno != unix.ENOENT || err != nil {
		t.Errorf("%v, %v", errno, err)
	}
	if _, err := (Message{}).Errno(); !errors.Is(err, ErrTruncated) {
		t.Errorf("no number: %v", err)
	}
}
