package loadgen

import (
	"maps"
	"net/netip"
	"time"

	"github.com/podskew/podskew/record"
)

// maxOthers is how many pods besides the first one are counted on one connection.
const maxOthers = 1000

// track records one slot of a plan: the connection that it has, one after the other, and the requests on it. A driver
// calls begin, connected if the dial worked, count for every request, finish, and begin again. A track is used by one
// goroutine at a time, but for snapshot, which anyone may call.
type track struct {
	run    *run
	shard  *shard
	slot   int
	target int // of run.targets; a driver may change it before begin

	sticky *sticky // what makes its requests belong together; nil: nothing

	cell           *tallyCell // of the last request
	key            cellKey
	cellGeneration uint64

	// Guarded by the shard's lock, since others look at a connection in use.
	row     record.Connection // ID 0: none
	opened  time.Duration
	counted bool // the connection is in Tally.Connections already
	warmed  int  // answers of the warm-up on it
}

// newTrack returns the track of a slot. Tracks of one shard lock each other out for an instant: goroutines share shards,
// an event loop has one of its own.
func (r *run) newTrack(slot int, in *shard) *track {
	return &track{run: r, shard: in, slot: slot, target: r.targetOf(slot), sticky: r.newSticky(slot)}
}

// begin opens the row of a connection: the unit counts from here on, whatever becomes of it. It returns when that was.
func (t *track) begin() time.Duration {
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	return t.beginLocked(t.run.now())
}

// beginLocked is begin for who holds the shard's lock.
func (t *track) beginLocked(now time.Duration) time.Duration {
	r := t.run
	t.opened, t.counted, t.warmed = now, false, 0
	t.row = record.Connection{
		Stream: r.plan.Stream, Agent: r.plan.Agent, ID: int(r.opened.Add(1)), Slot: t.slot,
		Address: r.targets[t.target].hostPort, Opened: seconds(now),
	}
	r.open.Add(1)
	return now
}

// connected notes that the connection is there, and where it leaves from ("": not known).
func (t *track) connected(at time.Duration, local string) {
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	t.connectedLocked(at, local)
}

func (t *track) connectedLocked(at time.Duration, local string) {
	t.row.Connected, t.row.Local = seconds(at), local
	if ap, err := netip.ParseAddrPort(local); err == nil {
		t.run.ports.note(ap)
	}
}

// left notes where a dial that failed had left from.
func (t *track) left(from netip.AddrPort) {
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	t.row.Local = from.String()
}

// connectedFrom is connectedLocked with an address in place of its text; not valid: not known.
func (t *track) connectedFrom(at time.Duration, local netip.AddrPort) {
	t.row.Connected = seconds(at)
	if local.IsValid() {
		t.row.Local = local.String()
		t.run.ports.note(local)
	}
}

// dialled notes which address a name was resolved to.
func (t *track) dialled(address string) {
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	t.row.Dialled = address
}

// count enters a request into the row, the tallies and the samples. from is looked at only if it was answered; nil: the
// answer did not say.
func (t *track) count(q request, from *attribution) {
	t.shard.mu.Lock()
	t.countLocked(q, from)
	t.shard.mu.Unlock()
}

// countLocked is count for who holds the shard's lock.
func (t *track) countLocked(q request, from *attribution) {
	r := t.run
	if q.warm {
		t.creditWarm(q, from)
		return
	}
	key := cellKey{address: t.target, second: int(q.sent / time.Second)}
	if q.answered && from != nil {
		key.backend, key.observed = from.pod, from.ip
	}
	t.shard.count(t.cellOf(key), q)
	if q.answered {
		if t.sticky != nil {
			t.row.Key = t.sticky.sent
		}
		t.credit(from, q.kind)
	}
	if r.plan.Rate > 0 {
		t.shard.lateness.add(q.late)
	}
	if hash, ok := r.samples.wants(); ok && t.row.ID != 0 { // else it was made on no connection
		r.samples.offer(hash, record.Sample{
			Stream: r.plan.Stream, Agent: r.plan.Agent, Connection: t.row.ID,
			Sent: seconds(q.sent), Late: seconds(q.late), Latency: seconds(q.took), Error: q.kind,
		})
	}
}

func (t *track) cellOf(key cellKey) *tallyCell {
	if t.cell == nil || t.cellGeneration != t.shard.generation || t.key != key {
		t.cell, t.key, t.cellGeneration = t.shard.cell(key), key, t.shard.generation
	}
	return t.cell
}

// credit notes who answered.
func (t *track) credit(from *attribution, kind record.ErrorKind) {
	t.row.Requests++
	if from == nil || from.pod == "" {
		if kind == "" {
			t.run.unattributed.Add(1)
		}
		return
	}
	switch t.row.Backend {
	case from.pod:
		if !t.counted { // it was there before the run
			t.countConnection(from.ip)
		}
	case "":
		t.row.Backend, t.row.Observed, t.row.ServerConn = from.pod, from.client, from.serverConn
		t.row.Forwarded, t.row.Proxied = from.forwarded, from.proxied
		t.countConnection(from.ip)
	default:
		if t.row.Others == nil {
			t.row.Others = map[string]int{}
		}
		if _, known := t.row.Others[from.pod]; !known && len(t.row.Others) == maxOthers {
			t.run.droppedOthers.Add(1)
			return
		}
		t.row.Others[from.pod]++
	}
}

// countConnection counts the connection among its first pod's, seen by it as coming from observed.
func (t *track) countConnection(observed string) {
	t.counted = true
	t.cellOf(cellKey{address: t.target, second: int(max(t.opened, 0) / time.Second), backend: t.row.Backend, observed: observed}).connections++
}

// finish closes the row and hands it over, waiting if the sink is behind. err is what ended the connection before its
// time; nil: it ended as planned.
func (t *track) finish(err error) {
	t.shard.mu.Lock()
	row, keep := t.finishLocked(t.run.now(), err)
	t.shard.mu.Unlock()
	if keep {
		t.run.handOver(row)
	}
}

// finishLocked is finish for who holds the shard's lock. It hands nothing over: the caller does, if the row is to be kept.
func (t *track) finishLocked(now time.Duration, err error) (row record.Connection, keep bool) {
	if warm(now) {
		t.row = record.Connection{}
		t.run.open.Add(-1)
		t.run.passed.Add(1)
		return row, false
	}
	if !t.counted {
		t.countConnection(t.run.observedIP(t.row.Observed))
	}
	t.row.Closed, t.row.WarmUp = seconds(now), t.warmed
	t.row.Error, t.row.ErrorDetail = classify(err), detail(err)
	row = t.row
	t.row = record.Connection{} // no longer open
	t.run.open.Add(-1)
	if !t.run.hasRow(row.ID) {
		t.run.droppedRows.Add(1)
		return row, false
	}
	return row, true
}

// snapshot returns the row of the connection in use, if there is one.
func (t *track) snapshot() (record.Connection, bool) {
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	row := t.row
	row.Others, row.WarmUp = maps.Clone(row.Others), t.warmed
	return row, row.ID != 0 && t.run.hasRow(row.ID)
}

// handOver gives finished rows to the collector, waiting if it is behind. They are its to keep.
func (r *run) handOver(rows ...record.Connection) {
	r.pending.Add(int64(len(rows)))
	select {
	case r.rows <- rows:
	default:
		began := time.Now()
		r.rows <- rows
		r.heldBack.Add(int64(time.Since(began)))
	}
}

// tracks is what drivers are made of whose connections are tracks.
type tracks struct {
	all  []*track
	next int
}

// snapshots returns the rows of up to limit connections in use, others with every call.
func (s *tracks) snapshots(limit int) []record.Connection {
	var open []record.Connection
	for range s.all {
		if len(open) == limit {
			break
		}
		if row, ok := s.all[s.next].snapshot(); ok {
			open = append(open, row)
		}
		s.next = (s.next + 1) % len(s.all)
	}
	return open
}

// seconds is the float64 nearest to a time, which Duration.Seconds is not always: records get shorter by it.
func seconds(d time.Duration) float64 { return float64(d) / float64(time.Second) }
