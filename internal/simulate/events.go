package simulate

import (
	"fmt"
	"math"

	"github.com/podskew/podskew/record"
)

// Event is something done to a scene's cluster while it plays.
type Event struct {
	At        float64 // seconds
	Placement []int   // echo pods on each worker from then on: those that are there stay, the last ones go; nil: a restart
	Over      float64 // seconds a restart takes: one pod after the other is replaced; 0: 3
	Forgotten bool    // a pod that is removed is no endpoint any more, but serves on: open connections stay
}

// seconds is how long a scene plays.
const seconds = 10.0

// era is a stretch of a scene with the same endpoints.
type era struct {
	from      float64
	endpoints []record.Endpoint
}

// eras returns the endpoints of a scene over time, the first from the beginning on.
func (s Scene) eras() []era {
	placement, generation := s.Placement, map[string]int{}
	list := []era{{math.Inf(-1), s.endpoints(placement, generation)}}
	for _, e := range s.Events {
		if e.Placement != nil {
			placement = e.Placement
			list = append(list, era{e.At, s.endpoints(placement, generation)})
			continue
		}
		list = append(list, s.restart(e, placement, generation)...)
	}
	return list
}

// restart replaces one pod after the other.
func (s Scene) restart(e Event, placement []int, generation map[string]int) []era {
	over, all, done := e.Over, total(placement), 0
	if over == 0 {
		over = 3
	}
	var list []era
	for i, pods := range placement {
		for k := range pods {
			generation[podIP(i, k)]++
			list = append(list, era{e.At + over*float64(done)/float64(all), s.endpoints(placement, generation)})
			done++
		}
	}
	return list
}

// endpoints lists the pods of a placement. A pod that was replaced has another name and address each time.
func (s Scene) endpoints(placement []int, generation map[string]int) []record.Endpoint {
	var list []record.Endpoint
	for i, pods := range placement {
		for k := range pods {
			name, address := PodName(i, k), podIP(i, k)
			if g := generation[address]; g > 0 {
				name, address = fmt.Sprintf("%s-%d", name, g), fmt.Sprintf("10.78.%d.%d", 16*(1+i)+8+g, 10+k)
			}
			list = append(list, record.Endpoint{
				Service: Service, Address: address, Pod: name, Node: NodeName(i), Zone: string('a' + rune(i)), Ready: true, Serving: true,
			})
		}
	}
	return list
}

// at returns the endpoints at a time.
func (p *play) at(now float64) []record.Endpoint {
	current := p.eras[0].endpoints
	for _, e := range p.eras {
		if e.from <= now {
			current = e.endpoints
		}
	}
	return current
}

// until is when an endpoint goes away, as its open connections see it.
func (p *play) until(endpoint record.Endpoint, now float64) float64 {
	for _, e := range p.eras {
		if e.from <= now || p.forgets(e.from) {
			continue
		}
		there := false
		for _, other := range e.endpoints {
			there = there || other.Address == endpoint.Address
		}
		if !there {
			return e.from
		}
	}
	return math.Inf(1)
}

func (p *play) forgets(at float64) bool {
	for _, e := range p.scene.Events {
		if e.At == at && e.Forgotten {
			return true
		}
	}
	return false
}

// hold keeps one connection of a client open for the whole scene, and opens another whenever its time is over or its pod goes.
func (p *play) hold(st Stream, c client, addr record.Address, slot int, id *int, tallies map[tallyKey]*record.Tally) {
	// Ages are spread from the start, as they are in a pool that has run for long.
	first := st.Lifetime
	if !math.IsInf(first, 1) {
		first *= p.rng.Float64()
	}
	for now := 0.001 * float64(slot+1); now < seconds; {
		e := p.choose(p.at(now), c.ref.IPs[0], NodeName(c.node), now)
		end := min(now+first, p.until(e, now), seconds)
		first = st.Lifetime
		*id++
		p.served++
		row := record.Connection{
			Stream: st.Name, Agent: c.ref.Name, ID: *id, Slot: slot, Address: addr.HostPort,
			Local: fmt.Sprintf("%s:%d", c.ref.IPs[0], 20_000+*id%40_000), Opened: now, Connected: now + 150e-6, Closed: end,
			Backend: e.Pod, Observed: fmt.Sprintf("%s:%d", c.ref.IPs[0], 20_000+*id%40_000), ServerConn: p.served,
		}
		for second := int(now); float64(second) < end; second++ {
			part := min(end, float64(second+1)) - max(now, float64(second))
			n := int(math.Round(float64(st.Requests) * part))
			if n == 0 {
				continue
			}
			row.Requests += n
			t := count(tallies, st.Name, tallyKey{c.ref.Name, addr.HostPort, e.Pod, c.ref.IPs[0], second}, n)
			t.Latency.Add(300_000, uint64(n)) // #nosec G115 -- positive
		}
		p.rec.Connections = append(p.rec.Connections, row)
		now = end + 0.001
	}
}

// happened lists what was done, as a run would record it.
func (s Scene) happened() []record.Event {
	var list []record.Event
	before := total(s.Placement)
	for _, e := range s.Events {
		if e.Placement == nil {
			list = append(list, record.Event{At: e.At, What: "restarted echo", Kind: record.EventRestart})
			continue
		}
		after := total(e.Placement)
		list = append(list, record.Event{
			At: e.At, What: fmt.Sprintf("scaled echo to %d", after), Kind: record.EventScale, Before: fmt.Sprint(before), After: fmt.Sprint(after),
		})
		before = after
	}
	return list
}

func total(placement []int) int {
	n := 0
	for _, pods := range placement {
		n += pods
	}
	return n
}

// finalEndpoints puts what is there when the scene ends into the facts of that time.
func (p *play) finalEndpoints(f *record.Facts) {
	if len(p.scene.Events) == 0 {
		return
	}
	f.Endpoints, f.Pods = p.at(math.Inf(1)), nil
	for _, e := range f.Endpoints {
		f.Pods = append(f.Pods, record.Pod{Name: e.Pod, UID: "uid-" + e.Pod, Role: "echo", IPs: []string{e.Address}, Node: e.Node, Ready: true})
	}
}
