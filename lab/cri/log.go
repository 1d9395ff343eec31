package cri

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// maxLogLine is the longest piece of a line in one log entry, in bytes; longer lines are split into partial ones.
	maxLogLine = 16 << 10
	// maxLogFile is the size in bytes at which a log takes no more until the kubelet rotates it. The kubelet rotates
	// at 10 MiB but looks only every 10 s, and the log lies in memory.
	maxLogFile = 64 << 20
	// logTime is the time format of log entries.
	logTime = time.RFC3339Nano
)

// logFile is a container's log in the format that the kubelet reads: time, stream, P or F (partial or full line) and
// the text. It is safe for concurrent use.
type logFile struct {
	path string // "" discards
	now  func() time.Time

	mu      sync.Mutex
	file    *os.File
	size    int64 // bytes written since it was opened
	limit   int64 // of size
	dropped int64 // entries not written since it was opened
}

// openLog opens the log, appending to what is there.
func openLog(path string) (*logFile, error) {
	l := &logFile{path: path, now: time.Now, limit: maxLogFile}
	return l, l.reopen()
}

// reopen goes on in a new file at the same path.
func (l *logFile) reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeFile()
	l.file, l.size = f, info.Size()
	return nil
}

// close ends the log; later entries are discarded.
func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeFile()
}

// closeFile notes in the file how much is missing from it.
func (l *logFile) closeFile() {
	if l.file == nil {
		return
	}
	if l.dropped > 0 {
		fmt.Fprintf(l.file, "%s stderr F [podskew-lab: %d log lines dropped, the log was full]\n",
			l.now().Format(logTime), l.dropped)
		l.dropped = 0
	}
	l.file.Close()
	l.file = nil
}

// entry writes one line or piece of a line, without its newline.
func (l *logFile) entry(stream string, partial bool, text []byte) {
	tag := "F"
	if partial {
		tag = "P"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	line := fmt.Appendf(nil, "%s %s %s ", l.now().Format(logTime), stream, tag)
	line = append(append(line, text...), '\n')
	if l.size+int64(len(line)) > l.limit {
		l.dropped++
		return
	}
	// A full disk must not stop the container; what is missing shows as missing.
	n, err := l.file.Write(line)
	l.size += int64(n)
	if err != nil {
		l.dropped++
	}
}

// lineSplitter cuts one stream of a container's output into log entries. Its writes never fail.
type lineSplitter struct {
	entry  func(stream string, partial bool, text []byte) // must not keep text
	stream string                                         // stdout or stderr
	rest   []byte                                         // of a line whose end has not come; at most maxLogLine
}

// Write logs the complete lines and keeps the rest.
func (s *lineSplitter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		piece, after, whole := bytes.Cut(p, []byte{'\n'})
		for room := maxLogLine - len(s.rest); len(piece) > room; room = maxLogLine {
			s.entry(s.stream, true, append(s.rest, piece[:room]...))
			s.rest, piece = s.rest[:0], piece[room:]
		}
		s.rest = append(s.rest, piece...)
		if whole {
			s.entry(s.stream, false, s.rest)
			s.rest = s.rest[:0]
		}
		p = after
	}
	return n, nil
}

// flush logs what is left at the end of the stream as a line.
func (s *lineSplitter) flush() {
	if len(s.rest) > 0 {
		s.entry(s.stream, false, s.rest)
		s.rest = s.rest[:0]
	}
}

var _ io.Writer = (*lineSplitter)(nil)
