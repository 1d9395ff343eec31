package scenarios

import "time"

// MarshalYAML writes at: 0s where that is meant: left out, nothing would say when the event comes.
func (e Event) MarshalYAML() (any, error) {
	type plain Event
	if e.At != 0 || e.AfterRequests != 0 {
		return plain(e), nil
	}
	return struct {
		At   time.Duration `yaml:"at"`
		Rest plain         `yaml:",inline"`
	}{Rest: plain(e)}, nil
}
