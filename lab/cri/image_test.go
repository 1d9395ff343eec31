package cri

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const testDigest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestParseImageRef(t *testing.T) {
	for name, want := range map[string]imageRef{
		"podskew.dev/pod:dev":                         {repository: "podskew.dev/pod", tag: "dev"},
		"docker.io/podskew.dev/pod:dev":               {repository: "podskew.dev/pod", tag: "dev"},
		"podskew.dev/pod":                             {repository: "podskew.dev/pod", tag: "latest"},
		"coredns":                                     {repository: "coredns", tag: "latest"},
		"docker.io/library/coredns:1.15":              {repository: "coredns", tag: "1.15"},
		"index.docker.io/library/coredns":             {repository: "coredns", tag: "latest"},
		"localhost:5000/a/b:c":                        {repository: "localhost:5000/a/b", tag: "c"},
		"podskew.dev/pod@" + testDigest:               {repository: "podskew.dev/pod", digest: testDigest},
		"docker.io/podskew.dev/pod:dev@" + testDigest: {repository: "podskew.dev/pod", digest: testDigest},
	} {
		got, err := parseImageRef(name)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v; want %+v", name, got, err, want)
		}
	}
	for _, name := range []string{"", "a/UPPER", "a b", "a:", "a@sha256:12", ":tag", "a//b", testDigest[len("sha256:"):]} {
		if got, err := parseImageRef(name); err == nil {
			t.Errorf("%q is accepted as %+v", name, got)
		}
	}
}

func FuzzParseImageRef(f *testing.F) {
	for _, name := range []string{"podskew.dev/pod:dev", "docker.io/library/a", "a@" + testDigest, "localhost:1/x:y", "a/b/c"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		ref, err := parseImageRef(name)
		if err != nil {
			return
		}
		if (ref.tag == "") == (ref.digest == "") || ref.repository == "" {
			t.Fatalf("%q is %+v", name, ref)
		}
		again := ref.repository + ":" + ref.tag
		if ref.digest != "" {
			again = ref.repository + "@" + ref.digest
		}
		same, err := parseImageRef(again)
		if err != nil || same != ref {
			t.Errorf("%q is %+v, but %q is %+v, %v", name, ref, again, same, err)
		}
	})
}

// testImage is an image with one file.
func testImage(t *testing.T, name, content string) Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return Image{Name: name, Files: map[string]string{"/program": path}, Entrypoint: []string{"/program"}, UID: 65532}
}

func TestImageStore(t *testing.T) {
	store, err := newImageStore([]Image{testImage(t, "podskew.dev/pod:dev", "pod"), testImage(t, "coredns", "dns")})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := store.find("podskew.dev/pod:dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"docker.io/podskew.dev/pod:dev", pod.ID, strings.TrimPrefix(pod.ID, "sha256:"), "podskew.dev/pod@" + pod.ID,
		"podskew.dev/pod:other@" + pod.ID,
	} {
		if got, err := store.find(name); err != nil || got != pod {
			t.Errorf("%s gives %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"podskew.dev/pod", "pod:dev", "coredns@" + pod.ID, "podskew.dev/pod@" + testDigest, testDigest} {
		_, err := store.find(name)
		if !errors.Is(err, errNoImage) {
			t.Errorf("%s gives %v", name, err)
			continue
		}
		if !strings.Contains(err.Error(), "coredns:latest, podskew.dev/pod:dev") {
			t.Errorf("the message does not list what there is: %v", err)
		}
	}
	other, err := newImageStore([]Image{testImage(t, "podskew.dev/pod:dev", "changed")})
	if err != nil {
		t.Fatal(err)
	}
	if other.images[0].ID == pod.ID {
		t.Error("other contents have the same id")
	}
}

func TestImageStoreRefuses(t *testing.T) {
	good := testImage(t, "a", "x")
	for name, test := range map[string]struct {
		images []Image
		want   string
	}{
		"the same name twice":   {[]Image{good, testImage(t, "docker.io/library/a:latest", "y")}, "twice"},
		"a name by digest":      {[]Image{testImage(t, "a@"+testDigest, "x")}, "digest"},
		"a name that is none":   {[]Image{testImage(t, "A B", "x")}, "A B"},
		"a file that is absent": {[]Image{{Name: "a", Files: map[string]string{"/x": "/no/such"}, Entrypoint: []string{"/x"}}}, "/no/such"},
		"no entry point":        {[]Image{{Name: "a", Files: good.Files}}, "entry point"},
	} {
		if _, err := newImageStore(test.images); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s gives %v, want something with %q", name, err, test.want)
		}
	}
}

func TestImageKeepsItsGivenID(t *testing.T) {
	image := testImage(t, "a", "x")
	image.ID = testDigest
	store, err := newImageStore([]Image{image})
	if err != nil {
		t.Fatal(err)
	}
	if got := store.images[0]; got.ID != testDigest || got.size != 1 {
		t.Errorf("id %s, size %d", got.ID, got.size)
	}
}

func TestRuntimeImages(t *testing.T) {
	h := newHarness(t)
	statusOf := func(name string) *runtimeapi.Image {
		t.Helper()
		resp, err := h.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: name}})
		if err != nil {
			t.Fatal(err)
		}
		return resp.Image
	}
	image := statusOf("docker.io/" + probeImage)
	if image.GetUid().GetValue() != 65532 || image.GetSize() == 0 || !strings.HasPrefix(image.GetId(), "sha256:") {
		t.Errorf("status is %v", image)
	}
	if diff := cmp.Diff([]string{probeImage}, image.GetRepoTags()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if got := statusOf("nginx"); got != nil {
		t.Errorf("an image that is not there has status %v", got)
	}
	pulled, err := h.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: probeImage}})
	if err != nil || pulled.ImageRef != image.GetId() {
		t.Errorf("pulling gives %v, %v", pulled, err)
	}
	_, err = h.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "nginx:1.29"}})
	if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), probeImage) {
		t.Errorf("pulling an unknown image gives %v", err)
	}
	_, err = h.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "Not A Name"}})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("pulling by no name gives %v", err)
	}
	list, err := h.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{})
	if err != nil || len(list.Images) != 1 || list.Images[0].Id != image.GetId() {
		t.Errorf("the list is %v, %v", list, err)
	}
	info, err := h.images.ImageFsInfo(t.Context(), &runtimeapi.ImageFsInfoRequest{})
	if err != nil || len(info.ImageFilesystems) != 1 || info.ImageFilesystems[0].FsId.Mountpoint != h.state {
		t.Errorf("the filesystem is %v, %v", info, err)
	}
}
