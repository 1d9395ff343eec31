package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/podskew/podskew/analyze"
)

// browser starts a headless Chromium, or skips the test where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds: not in short mode")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium on this machine: apt-get install chromium")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return ctx
}

// console collects what a page complains about.
type console struct {
	mu       sync.Mutex
	problems []string
}

func (c *console) listen(ctx context.Context, t *testing.T) {
	t.Helper()
	err := chromedp.Listen(ctx, func(event any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch e := event.(type) {
		case *cdplog.EventEntryAdded:
			c.problems = append(c.problems, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
		case *runtime.EventExceptionThrown:
			c.problems = append(c.problems, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			c.problems = append(c.problems, string(e.Type))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
}

// take returns what was complained about since the last time.
func (c *console) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	problems := c.problems
	c.problems = nil
	return problems
}

// inspection is what the script below finds on a page.
type inspection struct {
	Title      string
	Scroll     float64 // how far the page could be scrolled sideways, in pixels
	Charts     map[string]int
	Contrast   []string // texts that are too faint
	Unlabelled []string // drawings without a name
	Hidden     int      // charts without a size
	Anchors    []string // links to nowhere
	Focusable  int
	Dark       bool
}

// inspect measures contrast as WCAG 2 defines it, over the colours that are painted behind a text.
const inspect = `(() => {
const out = {Title: document.title, Charts: {}, Contrast: [], Unlabelled: [], Anchors: [], Hidden: 0};
const root = document.documentElement;
out.Scroll = Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth;
for (const f of document.querySelectorAll('figure[data-chart]')) {
  out.Charts[f.dataset.chart] = (out.Charts[f.dataset.chart] || 0) + Number(f.dataset.points);
  const box = f.getBoundingClientRect();
  if (box.width < 100 || box.height < 40) out.Hidden++;
  if (!f.querySelector('figcaption h3')) out.Unlabelled.push('figure ' + f.id);
  if (!f.querySelector('table')) out.Unlabelled.push('no table: ' + f.id);
}
for (const s of document.querySelectorAll('svg[role=img]'))
  if (!s.getAttribute('aria-label') && !(s.querySelector(':scope > title') && s.querySelector(':scope > title').textContent.trim())) out.Unlabelled.push(s.closest('figure').id);
for (const a of document.querySelectorAll('a[href^="#"]')) if (!document.getElementById(a.hash.slice(1))) out.Anchors.push(a.hash);
const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
const over = (a, b) => [0,1,2].map(i => a[i]*a[3] + b[i]*(1-a[3])).concat(1);
const back = e => { const layers = []; for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
  let c = getComputedStyle(root).colorScheme && matchMedia('(prefers-color-scheme: dark)').matches ? [18,18,18,1] : [255,255,255,1];
  for (const l of layers.reverse()) c = over(l, c); return c; };
const lum = c => { const f = v => { v /= 255; return v <= .03928 ? v/12.92 : ((v+.055)/1.055)**2.4; }; return .2126*f(c[0]) + .7152*f(c[1]) + .0722*f(c[2]); };
const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x+.05)/(y+.05); };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || seen.has(e) || e.closest('svg')) continue;
  seen.add(e);
  const s = getComputedStyle(e), b = back(e), r = ratio(over(parse(s.color), b), b);
  const big = parseFloat(s.fontSize) >= 24 || parseFloat(s.fontSize) >= 18.66 && Number(s.fontWeight) >= 700;
  if (r < (big ? 3 : 4.5)) out.Contrast.push(r.toFixed(2) + ' ' + e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 30));
}
for (const e of document.querySelectorAll('svg .bar, svg .tick, svg .dot, svg .part, svg .event, svg .ribbon, path.lost')) {
  const s = getComputedStyle(e), paint = s.fill !== 'none' ? s.fill : s.stroke, b = back(e.closest('svg').parentElement);
  if (ratio(over(parse(e.classList.contains('tick') || e.classList.contains('event') ? s.stroke : paint), b), b) < 3) { out.Contrast.push('drawing ' + e.getAttribute('class')); break; }
}
out.Focusable = document.querySelectorAll('a[href], summary, [tabindex="0"]').length;
out.Dark = lum(parse(getComputedStyle(document.body).backgroundColor)) < .2;
return JSON.stringify(out);
})()`

// pagesEnv names a directory in which pages and their pictures are kept for somebody to look at.
const pagesEnv = "PODSKEW_PAGES"

// pagesDir is where pages and pictures of them go: PODSKEW_PAGES keeps them.
func pagesDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(pagesEnv); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	return t.TempDir()
}

// TestPagesInABrowser opens every kind of report, wide and narrow, light and dark.
func TestPagesInABrowser(t *testing.T) {
	ctx := browser(t)
	dir := pagesDir(t)
	var seen console
	seen.listen(ctx, t)
	reports := pages()
	maps.DeleteFunc(reports, func(name string, _ *analyze.Report) bool {
		return !slices.Contains([]string{"drawn", "vast", "hostile", "etp-local", "empty"}, name)
	})
	for _, name := range slices.Sorted(maps.Keys(reports)) {
		file := filepath.Join(dir, name+".html")
		page := written(t, func(w io.Writer) error { return HTML(w, reports[name]) })
		if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(fmt.Sprintf("%s, %d pixels, %s", name, width, scheme), func(t *testing.T) {
					found := open(ctx, t, file, width, scheme, strings.TrimSuffix(file, ".html")+fmt.Sprintf("-%d-%s.png", width, scheme))
					checkInspection(t, found, reports[name], scheme)
					for _, problem := range seen.take() {
						t.Errorf("console: %s", problem)
					}
				})
			}
		}
	}
}

// open shows a file and returns what is on the page. A picture of the whole page goes to picture if pages are kept.
func open(ctx context.Context, t *testing.T, file string, width int64, scheme, picture string) inspection {
	t.Helper()
	_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	if err != nil {
		t.Fatal(err)
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String())); err != nil {
		t.Fatal(err)
	}
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](inspect))
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(pagesEnv) != "" { // somebody wants to look: pictures take more time than all the rest
		image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(picture, image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var found inspection
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func checkInspection(t *testing.T, found inspection, r *analyze.Report, scheme string) {
	t.Helper()
	if want := strings.Join(strings.Fields(title(r)), " "); clean(found.Title) != clean(want) {
		t.Errorf("the title is %q, want %q", found.Title, want)
	}
	if found.Scroll > 0 {
		t.Errorf("the page can be scrolled sideways by %g pixels", found.Scroll)
	}
	if found.Hidden > 0 {
		t.Errorf("%d charts have no size", found.Hidden)
	}
	for what, list := range map[string][]string{"too faint": found.Contrast, "drawing without a name or table": found.Unlabelled, "link to nowhere": found.Anchors} {
		for _, one := range list {
			t.Errorf("%s: %s", what, one)
		}
	}
	if found.Dark != (scheme == "dark") {
		t.Errorf("dark is %v on a page that should be %s", found.Dark, scheme)
	}
	want := map[string]int{}
	for i := range r.Streams {
		for kind, there := range map[string]bool{
			"shares": len(r.Streams[i].Backends) > 0, "skew": len(r.Streams[i].Backends) > 0, "causes": r.Streams[i].Decomposition != nil,
			"matrix": r.Streams[i].Matrix != nil, "connections": len(r.Streams[i].ConnectionRows) > 0 || r.Streams[i].OpenConnections != nil,
			"flow": len(r.Streams[i].Flows) > 0, "time": r.Streams[i].Timeline != nil && r.Streams[i].Timeline.Windows > 1,
		} {
			if there {
				want[kind]++
			}
		}
	}
	for kind := range want {
		if found.Charts[kind] == 0 {
			t.Errorf("the %s chart is missing or has no data", kind)
		}
	}
}

// TestPagesAreReachedByKeyboard walks through a page with the tabulator key.
func TestPagesAreReachedByKeyboard(t *testing.T) {
	ctx := browser(t)
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(written(t, func(w io.Writer) error { return HTML(w, drawn()) })), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate("file://"+file)); err != nil {
		t.Fatal(err)
	}
	visit := func(keys ...string) string {
		t.Helper()
		for _, key := range keys {
			if err := chromedp.Do(ctx, chromedp.KeyEvent(key)); err != nil {
				t.Fatal(err)
			}
		}
		place, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => { const e = document.activeElement; return e.tagName + ' ' + (e.getAttribute('href') || e.getAttribute('aria-label') || e.textContent); })()`))
		if err != nil {
			t.Fatal(err)
		}
		return place
	}
	reached := map[string]bool{}
	for range 200 {
		place := visit(kb.Tab)
		if strings.HasPrefix(place, "BODY") {
			break
		}
		reached[place] = true
		if strings.HasPrefix(place, "SUMMARY") { // opened with the keyboard, its table is the next stop
			visit(kb.Enter)
		}
	}
	for _, want := range []string{"A #verdict", "A #findings", "A #stream-1", "SUMMARY Evidence", "SUMMARY Every pod in numbers", "DIV Every pod in numbers", "SUMMARY Every connection", "DIV Every connection", "SUMMARY Every way requests took"} {
		if !reached[want] {
			t.Errorf("%s is not reached; reached: %v", want, slices.Sorted(maps.Keys(reached)))
		}
	}
}
