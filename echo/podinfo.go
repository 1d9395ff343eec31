package echo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// dataLink is the symlink inside a projected volume that the kubelet renames into place when anything changed.
	dataLink = "..data"
	// podInfoPoll is how often the volume is read where the kernel cannot tell of changes (no inotify, or no instances
	// left). The kubelet itself takes up to a minute to bring a change.
	podInfoPoll = 15 * time.Second
	// zoneLabel names the node's zone on nodes, and since Kubernetes 1.35 on their pods.
	zoneLabel = "topology.kubernetes.io/zone"
)

// PodInfo is one reading of a Downward API volume.
type PodInfo struct {
	// Labels and Annotations are the pod's. Nil: the file is missing, or cannot be read.
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	// Malformed is the number of lines that could not be made sense of, in both files.
	Malformed int `json:"malformed"`
	// Unknown lists "labels" and "annotations" where the file is missing or cannot be read. Never null.
	Unknown []string `json:"unknown"`
	// Generation counts the changes seen by this process, from 1 for the first reading. 0: there is no volume.
	Generation int `json:"generation"`
	// Read is when a reading last differed from the one before.
	Read time.Time `json:"read"`
}

// podInfo keeps the reading of a volume up to date.
type podInfo struct {
	dir     string // "": there is no volume
	current atomic.Pointer[PodInfo]
}

// newPodInfo reads the volume for the first time.
func newPodInfo(dir string) *podInfo {
	p := &podInfo{dir: dir}
	p.current.Store(&PodInfo{Unknown: []string{"annotations", "labels"}})
	p.refresh()
	return p
}

// refresh reads the volume again and reports whether it changed.
func (p *podInfo) refresh() bool {
	if p.dir == "" {
		return false
	}
	before, now := p.current.Load(), readPodInfo(p.dir)
	if before.Generation > 0 && before.Malformed == now.Malformed && sameMap(before.Labels, now.Labels) && sameMap(before.Annotations, now.Annotations) {
		return false
	}
	now.Generation, now.Read = before.Generation+1, time.Now()
	p.current.Store(now)
	return true
}

// sameMap is maps.Equal that tells nil from empty.
func sameMap(a, b map[string]string) bool {
	return (a == nil) == (b == nil) && maps.Equal(a, b)
}

// follow reads the volume whenever the kubelet changed it, and calls changed after each difference, until ctx ends. If the
// kernel's notifications cannot be had, degraded is told why, and the volume is polled.
func (p *podInfo) follow(ctx context.Context, changed func(), degraded func(error)) {
	if p.dir == "" {
		return
	}
	watcher, err := p.watch()
	if err != nil {
		degraded(err)
		p.poll(ctx, changed)
		return
	}
	defer watcher.Close()
	// What changed between the first reading and the start of the watch.
	p.refreshAnd(changed)
	for {
		select {
		case <-ctx.Done():
			return
		case event, ok := <-watcher.Events:
			if !ok {
				return
			}
			// In a plain folder, without the link, the files themselves change.
			switch filepath.Base(event.Name) {
			case dataLink, "labels", "annotations":
				p.refreshAnd(changed)
			}
		case _, ok := <-watcher.Errors:
			if !ok {
				return
			}
			// An overflow: something was lost, and it may have been ours.
			p.refreshAnd(changed)
		}
	}
}

// watch asks the kernel for the changes in the volume's folder.
func (p *podInfo) watch() (*fsnotify.Watcher, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", p.dir, err)
	}
	if err := watcher.Add(p.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("watching %s: %w", p.dir, err), watcher.Close())
	}
	return watcher, nil
}

// poll reads the volume every now and then until ctx ends.
func (p *podInfo) poll(ctx context.Context, changed func()) {
	ticker := time.NewTicker(podInfoPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.refreshAnd(changed)
		}
	}
}

func (p *podInfo) refreshAnd(changed func()) {
	if p.refresh() {
		changed()
	}
}

// zone returns the zone that the labels name, or "".
func (p *podInfo) zone() string {
	return p.current.Load().Labels[zoneLabel]
}

// readPodInfo reads labels and annotations that belong together. The kubelet prepares a new folder, moves the link to it
// and removes the old one; so both files are read through one resolution of the link, and again if the folder went away
// meanwhile.
func readPodInfo(dir string) *PodInfo {
	for attempt := 1; ; attempt++ {
		data := dir
		if target, err := os.Readlink(filepath.Join(dir, dataLink)); err == nil {
			data = filepath.Join(dir, filepath.Base(target))
		}
		info := &PodInfo{Unknown: []string{}}
		var errAnnotations, errLabels error
		info.Annotations, errAnnotations = readMap(filepath.Join(data, "annotations"), &info.Malformed)
		if errAnnotations != nil {
			info.Unknown = append(info.Unknown, "annotations")
		}
		info.Labels, errLabels = readMap(filepath.Join(data, "labels"), &info.Malformed)
		if errLabels != nil {
			info.Unknown = append(info.Unknown, "labels")
		}
		gone := errors.Is(errors.Join(errAnnotations, errLabels), fs.ErrNotExist)
		if !gone || data == dir || attempt == 3 {
			return info
		}
		if _, err := os.Stat(data); err == nil {
			return info // the folder is there, it just has no such file
		}
	}
}

// readMap reads one file of the volume and adds to the count of malformed lines.
func readMap(path string, malformed *int) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxMapFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxMapFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxMapFile)
	}
	entries, bad := parseMap(string(text))
	*malformed += bad
	return entries, nil
}
