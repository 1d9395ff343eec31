package podnet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Pods gives the pods of one node their addresses and links. It works in the network namespace that the process is
// in, which must be the node's.
//
// A pod has its address with a full-length mask and reaches everything through the first address of the node's pod
// CIDR, which sits on the node's end of every pod's veth pair. So every packet of a pod is routed by its node, to a
// neighbour on the same node too, and passes through the node's netfilter both ways. With a bridge instead, answers
// between two pods of a node would bypass connection tracking, and Services would break.
type Pods struct {
	cidr    netip.Prefix
	gateway netip.Addr

	mu   sync.Mutex
	next netip.Addr            // where the search for a free address begins
	used map[netip.Addr]string // by sandbox id
	byID map[string]netip.Addr
}

// NewPods returns the pod network of a node with that pod CIDR (IPv4, /8 to /29).
func NewPods(cidr netip.Prefix) (*Pods, error) {
	if !cidr.Addr().Is4() || cidr.Bits() < 8 || cidr.Bits() > 29 {
		return nil, fmt.Errorf("pod CIDR %s: want an IPv4 prefix of length 8 to 29", cidr)
	}
	gateway := cidr.Masked().Addr().Next()
	return &Pods{
		cidr: cidr.Masked(), gateway: gateway, next: gateway.Next(),
		used: map[netip.Addr]string{}, byID: map[string]netip.Addr{},
	}, nil
}

// Attach links the pod's network namespace to the node and returns the pod's address.
func (p *Pods) Attach(ctx context.Context, sandboxID string, ns *os.File) ([]netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	address, err := p.allocate(sandboxID)
	if err != nil {
		return nil, err
	}
	if err := p.link(sandboxID, ns, address); err != nil {
		return nil, fmt.Errorf("linking the pod's network: %w", errorOrDetach(err, p.Detach(ctx, sandboxID)))
	}
	return []netip.Addr{address}, nil
}

// errorOrDetach is the first error; that of undoing adds nothing to it but is not lost when it stands alone.
func errorOrDetach(err, undo error) error {
	if undo != nil {
		return fmt.Errorf("%w (and undoing it failed: %w)", err, undo)
	}
	return err
}

// Detach removes the pod's link and frees its address. An unknown id is fine.
func (p *Pods) Detach(_ context.Context, sandboxID string) error {
	link, err := netlink.LinkByName(linkName(sandboxID))
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !absent(err) {
		return fmt.Errorf("removing the pod's link: %w", err)
	}
	p.release(sandboxID)
	return nil
}

func (p *Pods) link(sandboxID string, ns *os.File, address netip.Addr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = linkName(sandboxID)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: uplink, PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("creating the veth pair: %w", err)
	}
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	err := configure(netns.NsHandle(ns.Fd()), netip.PrefixFrom(address, address.BitLen()),
		[]netip.Addr{p.gateway}, []Route{{To: everywhere, Via: p.gateway}})
	if err != nil {
		return fmt.Errorf("inside the pod: %w", err)
	}
	own := netip.PrefixFrom(p.gateway, p.gateway.BitLen())
	if err := netlink.AddrAdd(veth, &netlink.Addr{IPNet: ipNet(own)}); err != nil {
		return fmt.Errorf("adding the gateway address: %w", err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("setting the node's end up: %w", err)
	}
	route := netlink.Route{
		LinkIndex: veth.Attrs().Index, Scope: netlink.SCOPE_HOST,
		Dst: ipNet(netip.PrefixFrom(address, address.BitLen())), Src: p.gateway.AsSlice(),
	}
	if err := netlink.RouteAdd(&route); err != nil {
		return fmt.Errorf("adding the route to the pod: %w", err)
	}
	return nil
}

// allocate takes the next free address in turn. A freed one comes round again only after all others, so that
// connection tracking has forgotten the pod that had it.
func (p *Pods) allocate(sandboxID string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.byID[sandboxID]; ok {
		return netip.Addr{}, fmt.Errorf("sandbox %s has an address already", sandboxID)
	}
	for a, first := p.next, true; first || a != p.next; a, first = p.after(a), false {
		if _, taken := p.used[a]; !taken {
			p.used[a], p.byID[sandboxID], p.next = sandboxID, a, p.after(a)
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("every address of %s is taken", p.cidr)
}

// after is the address after a, leaving out the network's, the gateway's and the broadcast address.
func (p *Pods) after(a netip.Addr) netip.Addr {
	a = a.Next()
	if !p.cidr.Contains(a.Next()) {
		return p.gateway.Next()
	}
	return a
}

func (p *Pods) release(sandboxID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.byID[sandboxID]; ok {
		delete(p.used, a)
		delete(p.byID, sandboxID)
	}
}

// linkName is the name of the node's end of a pod's veth pair; interface names have at most 15 bytes.
func linkName(sandboxID string) string {
	sum := sha256.Sum256([]byte(sandboxID))
	return "pod" + hex.EncodeToString(sum[:6])
}

// None is the pod network of a node that has none: only pods in the host's network run there.
type None struct{}

// Attach refuses.
func (None) Attach(context.Context, string, *os.File) ([]netip.Addr, error) {
	return nil, fmt.Errorf("this node has no pod network: only pods with hostNetwork run here")
}

// Detach does nothing.
func (None) Detach(context.Context, string) error { return nil }
