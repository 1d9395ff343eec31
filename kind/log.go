package kind

import (
	"fmt"
	"strings"

	"sigs.k8s.io/kind/pkg/log"
)

// logger turns what kind tells its users into progress and warnings. kind may call it from several goroutines; the two
// functions must allow that.
type logger struct{ progress, warn func(string) }

func newLogger(progress, warn func(string)) *logger {
	ignore := func(string) {}
	if progress == nil {
		progress = ignore
	}
	if warn == nil {
		warn = ignore
	}
	return &logger{progress, warn}
}

// Warn passes a warning on, except the one about cgroup v1: Check has given it, with what is done about it.
func (l *logger) Warn(message string) {
	if !strings.HasPrefix(message, "cgroup v1 is deprecated") {
		l.warn(plain(message))
	}
}

func (l *logger) Warnf(format string, args ...any)  { l.Warn(fmt.Sprintf(format, args...)) }
func (l *logger) Error(message string)              { l.warn(plain(message)) }
func (l *logger) Errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }

// V keeps the level that is for users and drops the rest.
func (l *logger) V(level log.Level) log.InfoLogger {
	if level > 0 {
		return log.NoopInfoLogger{}
	}
	return info{l}
}

type info struct{ *logger }

func (info) Enabled() bool { return true }

// Info passes on what begins ("•"); that it ended is said by what begins next.
func (i info) Info(message string) {
	if strings.HasPrefix(strings.TrimSpace(message), "•") {
		i.progress(plain(message))
	}
}

func (i info) Infof(format string, args ...any) { i.Info(fmt.Sprintf(format, args...)) }

// plain leaves the pictures out, which terminals and logs cannot agree on how wide they are.
func plain(message string) string {
	words := strings.Map(func(r rune) rune {
		if r > 0x2000 {
			return -1
		}
		return r
	}, message)
	return strings.TrimRight(strings.Join(strings.Fields(words), " "), " .")
}
