package ledger

import "github.com/kube-verdict/kube-verdict/nft"

// unread is a set that was too large to be read whole.
type unread struct {
	table *nft.Table
	count int
}

// Unread calls f with each set that was too large to be read, and with its table. Before
// a Plan, all that the kernel has of it, or may have of what is wanted, is Found.
func (l *Ledger) Unread(f func(*nft.Table, *nft.Set) error) error {
	for set, u := range l.unread {
		if err := f(u.table, set); err != nil {
			return err
		}
		delete(l.unread, set)
	}
	return nil
}

// HasUnread reports whether there is such a set.
func (l *Ledger) HasUnread() bool { return len(l.unread) > 0 }

// IsUnread reports whether this is one.
func (l *Ledger) IsUnread(set *nft.Set) bool {
	_, is := l.unread[set]
	return is
}

// Found records elements that the kernel has of a set that was not read, and reports
// whether these are all of them.
func (l *Ledger) Found(set *nft.Set, elements []nft.Element) bool {
	u := l.unread[set]
	for i := range elements {
		p := nft.Placed{Table: u.table, Set: set, Element: elements[i]}
		l.stale[placeOf(&p)] = p
	}
	return len(elements) >= u.count
}
