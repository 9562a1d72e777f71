package kernel

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel of the tests has nf_tables and lets root program it, so these
// errors are made by hand.
func TestErrorsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		errno unix.Errno
		want  string
	}{
		{unix.EPERM, "needs CAP_NET_ADMIN"},
		{unix.EPROTONOSUPPORT, "CONFIG_NF_TABLES"},
		{unix.EOPNOTSUPP, "CONFIG_NF_TABLES"},
	} {
		err := explain(fmt.Errorf("open: %w", test.errno))
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v is explained as %q, want that it says %q", test.errno, err, test.want)
		}
		if !errors.Is(err, test.errno) {
			t.Errorf("%q is no longer %v", err, test.errno)
		}
	}
	if err := explain(unix.EEXIST); err != unix.EEXIST {
		t.Errorf("an error with nothing to add became %q", err)
	}
	if err := explain(nil); err != nil {
		t.Errorf("no error became %q", err)
	}
}
