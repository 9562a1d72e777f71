package nfnetlink

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What is packed is read back: lengths count what is in an attribute, not what fills it
// up, and of nested ones all that they hold.
func TestEncoder(t *testing.T) {
	var e Encoder
	at := e.Message(unix.NFNL_SUBSYS_CTNETLINK<<8|2, unix.NLM_F_ACK, 7, unix.AF_INET6, 0x0102)
	nest := e.Nest(3)
	e.Bytes(4, 1, 2, 3)
	e.Text(5, "abcde")
	e.Name(6, "abc")
	e.CloseNest(nest)
	e.Uint16(7, 0x0102)
	e.Uint32(8, 0x01020304)
	e.CloseMessage(at)

	type attribute struct {
		typ   uint16
		value string
	}
	read := func(b []byte) (all []attribute) {
		for typ, value, rest := Attribute(b); value != nil; typ, value, rest = Attribute(rest) {
			all = append(all, attribute{typ, string(value)})
		}
		return all
	}
	expect := func(got []attribute, want ...attribute) {
		t.Helper()
		for i := range max(len(got), len(want)) {
			if len(got) != len(want) || got[i] != want[i] {
				t.Fatalf("read are %+v, want %+v", got, want)
			}
		}
	}
	messages := 0
	if err := Messages(e.B, func(m Message) error {
		messages++
		if m.Type != unix.NFNL_SUBSYS_CTNETLINK<<8|2 || m.Flags != unix.NLM_F_REQUEST|unix.NLM_F_ACK || m.Seq != 7 ||
			string(m.Body[:Header]) != string([]byte{unix.AF_INET6, unix.NFNETLINK_V0, 1, 2}) {
			t.Errorf("the message is %+v", m)
		}
		outer := read(m.Body[Header:])
		expect(outer[1:], attribute{7, "\x01\x02"}, attribute{8, "\x01\x02\x03\x04"})
		expect(read([]byte(outer[0].value)), attribute{4, "\x01\x02\x03"}, attribute{5, "abcde"}, attribute{6, "abc\x00"})
		return nil
	}); err != nil || messages != 1 {
		t.Errorf("%d messages, %v", messages, err)
	}
	if _, value, _ := Attribute([]byte{9, 0, 1, 0, 1, 2, 3, 4}); value != nil {
		t.Errorf("an attribute that ends too late: % x", value)
	}
}
