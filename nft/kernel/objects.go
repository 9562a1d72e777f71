package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// tableUserData is NFTA_TABLE_USERDATA; tableComment is the comment's type in
// it.
const (
	tableUserData = 6
	tableComment  = 0
)

func (b *batch) table(t *nft.Table) {
	b.Name(unix.NFTA_TABLE_NAME, t.Name)
	if t.Comment != "" {
		b.Bytes(tableUserData, commentData(t.Comment)...)
	}
	if t.Owned {
		b.Uint32(unix.NFTA_TABLE_FLAGS, tableOwner)
	}
}

// tableOwner is NFT_TABLE_F_OWNER, from Linux 5.12 on.
const tableOwner = 2

func commentData(comment string) []byte {
	return append(append([]byte{tableComment, byte(len(comment) + 1)}, comment...), 0)
}

const (
	// verdictData is the data type of a verdict map.
	verdictData = unix.NFT_DATA_VERDICT
	// policyDrop and policyAccept are NF_DROP and NF_ACCEPT.
	policyDrop   = 0
	policyAccept = 1
	// verdictGoto is NFT_GOTO as it goes over the wire.
	verdictGoto = 1<<32 + unix.NFT_GOTO
)

func (b *batch) set(t *nft.Table, s *nft.Set) {
	f := t.Family
	keyType, dataType := s.TypeIDs(f)
	b.Name(unix.NFTA_SET_TABLE, t.Name)
	b.Name(unix.NFTA_SET_NAME, s.Name)
	b.Uint32(unix.NFTA_SET_FLAGS, s.Flags())
	b.Uint32(unix.NFTA_SET_KEY_TYPE, keyType)
	b.Uint32(unix.NFTA_SET_KEY_LEN, uint32(s.KeyLen(f)))
	switch {
	case s.Verdicts:
		b.Uint32(unix.NFTA_SET_DATA_TYPE, verdictData)
	case len(s.Data) > 0:
		b.Uint32(unix.NFTA_SET_DATA_TYPE, dataType)
		b.Uint32(unix.NFTA_SET_DATA_LEN, uint32(s.DataLen(f)))
	}
	if s.Size > 0 || s.Interval && !s.Paired() {
		b.description(s, f)
	}
	b.setID++
	b.Uint32(unix.NFTA_SET_ID, b.setID)
	b.Bytes(unix.NFTA_SET_USERDATA, s.UserData(f)...)
	if s.Counted {
		counter := b.Nest(setExpr)
		b.Name(unix.NFTA_EXPR_NAME, "counter")
		b.CloseNest(b.Nest(unix.NFTA_EXPR_DATA))
		b.CloseNest(counter)
	}
	if s.Burst > 0 {
		b.bucket(setExpr, perDay(1), s.Burst)
	}
}

// Attributes of NFTA_SET_DESC, from Linux 5.6 on.
const (
	setDescConcat = 2
	setFieldLen   = 1
	setElemKeyEnd = 10
)

// description tells the kernel a set's greatest size, and the fields of a set of
// ranges.
func (b *batch) description(s *nft.Set, f nft.Family) {
	desc := b.Nest(unix.NFTA_SET_DESC)
	if s.Size > 0 {
		b.Uint32(unix.NFTA_SET_DESC_SIZE, s.Size)
	}
	if s.Interval {
		concat := b.Nest(setDescConcat)
		for _, field := range s.Key {
			elem := b.Nest(unix.NFTA_LIST_ELEM)
			b.Uint32(setFieldLen, uint32(nft.FieldLen(f, field)))
			b.CloseNest(elem)
		}
		b.CloseNest(concat)
	}
	b.CloseNest(desc)
}

func (b *batch) chain(op *nft.Op) {
	b.Name(unix.NFTA_CHAIN_TABLE, op.Table.Name)
	b.Name(unix.NFTA_CHAIN_NAME, op.Chain.Name)
	base := op.Chain.Base
	if base == nil {
		return
	}
	hook := b.Nest(unix.NFTA_CHAIN_HOOK)
	b.Uint32(unix.NFTA_HOOK_HOOKNUM, uint32(base.Hook))
	b.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(base.Priority))
	b.CloseNest(hook)
	b.Uint32(unix.NFTA_CHAIN_POLICY, policyAccept)
	b.Name(unix.NFTA_CHAIN_TYPE, base.Type)
}

func (b *batch) rule(op *nft.Op) error {
	f := op.Table.Family
	b.Name(unix.NFTA_RULE_TABLE, op.Table.Name)
	b.Name(unix.NFTA_RULE_CHAIN, op.Chain.Name)
	list := b.Nest(unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range op.Rule.Program(f) {
		if l, ok := e.(nft.LiteralLookup); ok {
			e = l.In(b.setID)
		}
		data, err := e.Marshal(f)
		if err != nil {
			return err
		}
		b.Bytes(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, data...)
	}
	b.CloseNest(list)
	if u := op.Rule.UserData(); u != nil {
		b.Bytes(unix.NFTA_RULE_USERDATA, u...)
	}
	return nil
}

// literal appends the messages that make the set of operation i's rule, if that
// has one. It goes by the number that is the latest in b.setID.
func (b *batch) literal(i int, literal nft.Literal) {
	if literal == nil {
		return
	}
	op := &b.tx[i]
	set, elements := literal.Literal()
	message := func(typ uint16, fill func()) {
		at, seq := len(b.B), b.nl.NextSeq()
		b.sent = append(b.sent, sent{seq, at, i, 1})
		b.open(op, typ, unix.NLM_F_CREATE, seq)
		fill()
		b.CloseMessage(at)
	}
	message(unix.NFT_MSG_NEWSET, func() { b.set(op.Table, set) })
	for len(elements) > 0 {
		message(unix.NFT_MSG_NEWSETELEM, func() {
			start := len(b.B)
			b.Name(unix.NFTA_SET_ELEM_LIST_TABLE, op.Table.Name)
			b.Name(unix.NFTA_SET_ELEM_LIST_SET, set.Name)
			b.Uint32(unix.NFTA_SET_ELEM_LIST_SET_ID, b.setID)
			list := b.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			for len(elements) > 0 && len(b.B)-start < elementsEnd {
				b.element(set, nft.Add, &elements[0])
				elements = elements[1:]
			}
			b.CloseNest(list)
		})
	}
}

// elementList appends the elements of operation i and of those that follow
// with the same verb and set, as many as a message holds, and says how many.
func (b *batch) elementList(i, at int) int {
	first := &b.tx[i]
	b.Name(unix.NFTA_SET_ELEM_LIST_TABLE, first.Table.Name)
	b.Name(unix.NFTA_SET_ELEM_LIST_SET, first.Set.Name)
	list := b.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	n := 0
	for ; i+n < len(b.tx) && len(b.B)-at < elementsEnd; n++ {
		op := &b.tx[i+n]
		if op.Set != first.Set || op.Verb != first.Verb || op.Element.Key == "" {
			break
		}
		b.element(op.Set, op.Verb, &op.Element)
	}
	b.CloseNest(list)
	return n
}

func (b *batch) element(set *nft.Set, verb nft.Verb, e *nft.Element) {
	paired := set.Paired()
	elem := b.Nest(unix.NFTA_LIST_ELEM)
	b.key(unix.NFTA_SET_ELEM_KEY, e.Key)
	if e.KeyEnd != "" && !paired {
		b.key(setElemKeyEnd, e.KeyEnd)
	}
	if verb == nft.Add {
		switch {
		case e.Goto != "":
			data := b.Nest(unix.NFTA_SET_ELEM_DATA)
			verdict := b.Nest(unix.NFTA_DATA_VERDICT)
			b.Uint32(unix.NFTA_VERDICT_CODE, verdictGoto)
			b.Name(unix.NFTA_VERDICT_CHAIN, e.Goto)
			b.CloseNest(verdict)
			b.CloseNest(data)
		case set.Burst > 0:
			b.bucket(unix.NFTA_SET_ELEM_EXPR, e.Data, set.Burst)
		case e.Data != "":
			data := b.Nest(unix.NFTA_SET_ELEM_DATA)
			b.Text(unix.NFTA_DATA_VALUE, e.Data)
			b.CloseNest(data)
		}
		if e.Left > 0 {
			ms := binary.BigEndian.AppendUint64(nil, uint64(max(e.Left.Milliseconds(), 1)))
			b.Text(unix.NFTA_SET_ELEM_TIMEOUT, string(ms))
		}
		if e.Comment != "" {
			b.Header(unix.NFTA_SET_ELEM_USERDATA, len(e.Comment)+3)
			b.B = nft.ElementUserData(b.B, e.Comment)
			b.Pad()
		}
	}
	b.CloseNest(elem)
	if next := nft.Next(e.KeyEnd); paired && next != "" {
		end := b.Nest(unix.NFTA_LIST_ELEM)
		b.Uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		b.key(unix.NFTA_SET_ELEM_KEY, next)
		b.CloseNest(end)
	}
}

func (b *batch) key(typ uint16, key string) {
	nest := b.Nest(typ)
	b.Text(unix.NFTA_DATA_VALUE, key)
	b.CloseNest(nest)
}

// isEnd says that an element is the end of a range.
func isEnd(elem []byte) bool {
	end := false
	attrs(elem, func(typ uint16, value []byte) {
		end = end || typ == unix.NFTA_SET_ELEM_FLAGS && beUint32(value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
	})
	return end
}

// elementAt is which element of a message lies at an offset in it, if one does.
func (b *batch) elementAt(s sent, offset int) (found int, ok bool) {
	body := b.B[s.at:]
	body = body[:binary.NativeEndian.Uint32(body)]
	at := unix.NLMSG_HDRLEN + nfgen
	attrs(body[at:], func(typ uint16, value []byte) {
		if typ == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			i, pos := 0, at+unix.SizeofNlAttr
			attrs(value, func(_ uint16, elem []byte) {
				if isEnd(elem) {
					i-- // of the range before
				}
				end := pos + nfnetlink.Align(unix.SizeofNlAttr+len(elem))
				if pos <= offset && offset < end {
					found, ok = i, true
				}
				i++
				pos = end
			})
		}
		at += nfnetlink.Align(unix.SizeofNlAttr + len(value))
	})
	return found, ok
}
