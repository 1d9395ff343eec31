package simulate

import "github.com/podskew/podskew/record"

// servers adds what the pods counted themselves to the record: every connection they answered on.
func (p *play) servers() {
	counts := map[string]*record.Server{}
	for _, c := range p.rec.Connections {
		if c.Backend == "" {
			continue
		}
		s := counts[c.Backend]
		if s == nil {
			s = &record.Server{Pod: c.Backend, At: p.rec.End.Seconds, Seconds: p.rec.End.Seconds}
			counts[c.Backend] = s
		}
		s.Connections++
		s.Requests += c.Requests
		s.Rows = append(s.Rows, record.ServerConnection{Connection: c.ServerConn, Client: c.Observed, Requests: c.Requests})
	}
	for _, e := range p.rec.Facts.Endpoints {
		if s := counts[e.Pod]; s != nil {
			p.rec.Servers = append(p.rec.Servers, *s)
			delete(counts, e.Pod)
		}
	}
}
