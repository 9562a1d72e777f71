package kubeproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/kube-verdict/kube-verdict/iptables"
	"github.com/kube-verdict/kube-verdict/kubeproxy/xtables"
	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/view"
)

// Mode is one of kube-proxy's modes, and for iptables the backend of the iptables
// that it runs.
type Mode string

// The modes that can be read.
const (
	Nftables       Mode = "nftables"
	IptablesNft    Mode = "iptables-nft"
	IptablesLegacy Mode = "iptables-legacy"
)

// Reader reads kube-proxy's rules in one network namespace, again and again. It is
// not safe for concurrent use.
type Reader struct {
	conn     *kernel.Conn
	onlooker *kernel.Onlooker
	// seen is what was found last in nftables, good as long as nobody commits.
	seen struct {
		*Found
		generation uint32
		nodeAddrs  []netip.Addr
	}
}

// Open makes a Reader for the calling thread's network namespace, which also has to
// be that of the threads that use it.
func Open() (*Reader, error) {
	conn, err := kernel.Open(0)
	if err != nil {
		return nil, err
	}
	return &Reader{conn: conn, onlooker: kernel.NewOnlooker(conn)}, nil
}

// Close ends the Reader.
func (r *Reader) Close() error { return r.conn.Close() }

// Found is what kube-proxy has. It must not be changed.
type Found struct {
	Mode Mode
	View view.View
	// Unhooked is what base chains should lead to and don't.
	Unhooked []string
	// Notes are what the View does not say and somebody should know.
	Notes []string
}

// ErrNone says that there are no rules of kube-proxy's.
var ErrNone = errors.New("this network namespace has no rules of kube-proxy's: neither a table kube-proxy, nor chains KUBE-SERVICES in iptables-nft or iptables-legacy")

// chainServices is where all of kube-proxy's rules in iptables mode begin.
const chainServices = "KUBE-SERVICES"

// Modes are those that kube-proxy has rules in. More than one has some when a
// change of mode, or of iptables, has left rules behind.
func (r *Reader) Modes() ([]Mode, error) {
	modes := []Mode{}
	for _, test := range []struct {
		mode Mode
		has  func(is4 bool) (bool, error)
	}{
		{Nftables, func(is4 bool) (bool, error) {
			return r.onlooker.Has(nft.ID{Family: family(is4), Name: tableName}, "services")
		}},
		{IptablesNft, func(is4 bool) (bool, error) {
			return r.onlooker.Has(nft.ID{Family: family(is4), Name: "nat"}, chainServices)
		}},
		{IptablesLegacy, func(is4 bool) (bool, error) {
			dump, err := xtables.Legacy(is4, "nat")
			return err == nil && dump.Table("nat").Chain(chainServices) != nil, err
		}},
	} {
		has4, err4 := test.has(true)
		has6, err6 := test.has(false)
		if err := errors.Join(err4, err6); err != nil {
			return nil, fmt.Errorf("kube-proxy's rules, mode %s: %w", test.mode, err)
		}
		if has4 || has6 {
			modes = append(modes, test.mode)
		}
	}
	return modes, nil
}

func family(is4 bool) nft.Family {
	if is4 {
		return nft.IPv4
	}
	return nft.IPv6
}

// Find reads what kube-proxy has, in whichever of these modes it works; any, if
// none is named. nodeAddrs are this node's addresses.
func (r *Reader) Find(nodeAddrs []netip.Addr, of ...Mode) (*Found, error) {
	there, err := r.Modes()
	if err != nil {
		return nil, err
	}
	wanted := slices.DeleteFunc(slices.Clone(there), func(m Mode) bool { return len(of) > 0 && !slices.Contains(of, m) })
	switch {
	case len(wanted) == 0 && len(there) > 0:
		return nil, fmt.Errorf("kube-proxy has no rules in mode %s here, but in %s", words(of), words(there))
	case len(wanted) == 0:
		return nil, ErrNone
	case wanted[0] == Nftables && len(wanted) > 1:
		return nil, fmt.Errorf("kube-proxy has rules in modes %s: name the one that it runs in, and remove the others with kube-proxy --cleanup", words(there))
	case wanted[0] == Nftables:
		return r.readNftables(nodeAddrs)
	case len(wanted) == 1:
		return r.read(wanted[0], nodeAddrs)
	}
	return r.eitherBackend(nodeAddrs)
}

func words(modes []Mode) string {
	texts := make([]string, len(modes))
	for i, m := range modes {
		texts[i] = string(m)
	}
	return strings.Join(texts, " and ")
}

// eitherBackend reads the iptables that this node uses, when both backends have
// rules. The kubelet tells by chains in the table mangle that it makes with it;
// without them, the backend with more Services is it.
func (r *Reader) eitherBackend(nodeAddrs []netip.Addr) (*Found, error) {
	modes := []Mode{IptablesNft, IptablesLegacy}
	var found [2]*Found
	var hinted [2]bool
	for i, mode := range modes {
		var err error
		if found[i], err = r.read(mode, nodeAddrs); err != nil {
			return nil, err
		}
		dump, err := r.dump(mode, true, "mangle")
		if err != nil {
			return nil, err
		}
		mangle := dump.Table("mangle")
		hinted[i] = mangle.Chain("KUBE-IPTABLES-HINT") != nil || mangle.Chain("KUBE-KUBELET-CANARY") != nil
	}
	use := 0
	if hinted[1] && !hinted[0] || hinted[0] == hinted[1] && len(found[1].View) > len(found[0].View) {
		use = 1
	}
	other := modes[1-use]
	found[use].Notes = append(found[use].Notes, fmt.Sprintf(
		"both backends of iptables have rules of kube-proxy's; this node uses %s, and those in %s are left from before but still in force: flush its tables nat and filter", modes[use], other))
	return found[use], nil
}

// readNftables reads the mode nftables, unless nothing has changed since it was read.
// iptables-legacy has no such number of commits, so that other modes are read anew.
func (r *Reader) readNftables(nodeAddrs []netip.Addr) (*Found, error) {
	generation, err := r.conn.Generation()
	if err != nil {
		return nil, err
	}
	if r.seen.Found != nil && r.seen.generation == generation && slices.Equal(r.seen.nodeAddrs, nodeAddrs) {
		return r.seen.Found, nil
	}
	found, err := r.read(Nftables, nodeAddrs)
	if err == nil {
		// What changed meanwhile has another number, and is read the next time.
		r.seen.Found, r.seen.generation, r.seen.nodeAddrs = found, generation, slices.Clone(nodeAddrs)
	}
	return found, err
}

// read reads one mode.
func (r *Reader) read(mode Mode, nodeAddrs []netip.Addr) (*Found, error) {
	found := &Found{Mode: mode, View: view.View{}}
	for _, is4 := range []bool{true, false} {
		if mode == Nftables {
			held, err := r.onlooker.Look(nft.ID{Family: family(is4), Name: tableName})
			if err != nil {
				return nil, err
			}
			if held != nil {
				addNftables(found.View, held, nodeAddrs)
			}
			continue
		}
		dump, err := r.dump(mode, is4, "nat", "filter")
		if err != nil {
			return nil, err
		}
		if dump.Table("nat").Chain(chainServices) == nil {
			continue
		}
		found.add(iptables.InterpretHooked(dump))
	}
	return found, nil
}

// add adds what a dump of one family means.
func (f *Found) add(r *iptables.Reading) {
	for key, port := range r.View {
		f.View[key] = port
	}
	for _, u := range r.Unhooked {
		f.Unhooked = append(f.Unhooked, u.String())
	}
	for _, w := range r.Warnings {
		f.Notes = append(f.Notes, w.String())
	}
}

// dump reads tables of iptables.
func (r *Reader) dump(mode Mode, is4 bool, tables ...string) (*iptables.Dump, error) {
	if mode == IptablesLegacy {
		return xtables.Legacy(is4, tables...)
	}
	var all []*nft.Held
	for _, name := range tables {
		held, err := r.onlooker.Look(nft.ID{Family: family(is4), Name: name})
		if err != nil {
			return nil, err
		}
		if held != nil {
			all = append(all, held)
		}
	}
	return xtables.FromNft(all), nil
}
