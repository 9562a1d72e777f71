package dataplane

import (
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/walk"
	"github.com/kube-verdict/kube-verdict/proxy"
	"github.com/kube-verdict/kube-verdict/view"
)

// Recover reads from the kernel what it holds of some Services, which nobody else
// knows: an earlier process programmed them. The elements have their names.
func (w *Writer) Recover(wanted func(proxy.Name) bool, kind func(proxy.Name, view.Key) proxy.FrontendKind) ([]proxy.Service, error) {
	found := view.View{}
	hairpins := map[string]bool{}
	clusterIPs := map[string]bool{}
	for _, t := range w.layout.Tables() {
		held, err := w.conn.Read(t.ID())
		if err != nil {
			return nil, err
		}
		if held == nil || held.Flags != 0 {
			continue
		}
		named := func(comment string) bool {
			name, ok := nameOf(comment)
			return ok && wanted(name)
		}
		walk.Compile(held).AddTo(found, walk.Options{Only: named})
		collect(clusterIPs, held.Sets["cluster-ips"])
		collect(hairpins, held.Sets["hairpin"])
		collectSources(hairpins, held)
	}
	maps.DeleteFunc(found, func(_ view.Key, p view.Port) bool { return p.Unclear != "" })
	services, _ := view.Model(found, func(key view.Key) view.Origin {
		if clusterIPs[string(key.Addr.AsSlice())] {
			return view.Origin{Kind: proxy.ClusterIP}
		}
		name, _ := nameOf(found[key].Service)
		return view.Origin{Kind: kind(name, key)}
	})
	for i := range services {
		for j := range services[i].Ports {
			port := &services[i].Ports[j]
			for k := range port.Endpoints {
				e := &port.Endpoints[k]
				e.Hairpin = !e.Local && (hairpins[hairpin(port.Protocol, e)] || hairpins[string(e.Addr().AsSlice())])
			}
		}
	}
	return services, nil
}

// nameOf is the Service that a comment names.
func nameOf(comment string) (proxy.Name, bool) {
	port := view.Port{Service: comment}
	return proxy.ParseName(port.ServiceName())
}

func collect(keys map[string]bool, set *nft.HeldSet) {
	if set != nil {
		for i := range set.Elements {
			keys[set.Elements[i].Key] = true
		}
	}
}

// collectSources adds the addresses that rules compare a packet's source with: in the
// layout of chains, those of endpoints that may reach themselves.
func collectSources(addrs map[string]bool, held *nft.Held) {
	const source4, source6 = 12, 8 // offsets in the IP header
	offset := uint32(source4)
	if held.Family == nft.IPv6 {
		offset = source6
	}
	for _, chain := range held.Chains {
		for i := range chain.Rules {
			loaded := false
			for e := range chain.Rules[i].Expressions() {
				switch e.Name {
				case "payload":
					loaded = e.Uint32(unix.NFTA_PAYLOAD_BASE) == unix.NFT_PAYLOAD_NETWORK_HEADER && e.Uint32(unix.NFTA_PAYLOAD_OFFSET) == offset
				case "cmp":
					if addr := e.Value(unix.NFTA_CMP_DATA, unix.NFTA_DATA_VALUE); loaded && len(addr) == held.Family.AddrLen() {
						addrs[string(addr)] = true
					}
				}
			}
		}
	}
}

// hairpin is the key by which an endpoint may reach itself.
func hairpin(protocol proxy.Protocol, e *proxy.Endpoint) string {
	addr := string(e.Addr().AsSlice())
	return addr + addr + string([]byte{byte(protocol), 0, 0, 0, byte(e.Port() >> 8), byte(e.Port()), 0, 0})
}

// unknownAge makes a Service of which only the kernel knows younger than any other: a
// frontend that another one claims is that one's.
var unknownAge = time.Unix(1<<40, 0)

// recover gives Services that can't be understood what an earlier process programmed
// of them, and, with KeepOthers, those that nobody has said anything of.
func (p *Programmer) recover() error {
	unread := map[proxy.Name]proxy.Service{}
	for svc := range p.cluster.Unread() {
		unread[svc.Name] = svc
	}
	if len(unread) == 0 && !p.keepOthers {
		return nil
	}
	held, err := p.writer.Recover(func(name proxy.Name) bool {
		_, is := unread[name]
		return is || p.keepOthers && !p.cluster.Has(name)
	}, func(name proxy.Name, key view.Key) proxy.FrontendKind {
		return unread[name].Unread.Kind(key.Addr)
	})
	if err != nil {
		return err
	}
	for _, old := range held {
		svc, known := unread[old.Name]
		if !known {
			svc = proxy.NothingRead(old.Name)
			svc.Created = unknownAge
		}
		old.Created = svc.Created
		p.cluster.Set(old)
		p.cluster.Set(svc)
	}
	return nil
}

// keepRefused gives Services that the kernel has refused what an earlier process
// programmed of them, so that it is not swept.
func (p *Programmer) keepRefused(failures []Failure) error {
	names := map[proxy.Name]bool{}
	for _, f := range failures {
		if _, has := p.writer.Applied(f.Name); !has {
			names[f.Name] = true
		}
	}
	if len(names) == 0 {
		return nil
	}
	held, err := p.writer.Recover(
		func(name proxy.Name) bool { return names[name] },
		func(proxy.Name, view.Key) proxy.FrontendKind { return proxy.ExternalIP })
	if err != nil {
		return err
	}
	_, err = p.writer.Program(changesTo(held))
	return err
}

// KeepOthers has Services stay in the kernel that an earlier process programmed and
// that nobody says anything of: they may be among what could not be read. It is called
// before the first Round.
func (p *Programmer) KeepOthers() { p.keepOthers = true }

// Names are the Services there are, as of the last Round. It must not be called during one.
func (p *Programmer) Names() []proxy.Name {
	return slices.Collect(p.cluster.Names())
}
