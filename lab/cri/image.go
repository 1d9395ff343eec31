package cri

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// errNoImage is the answer to a name that no image has.
var errNoImage = errors.New("no such image")

// Image is what a container can run: files bound read-only into an otherwise empty root.
type Image struct {
	// Name is the reference pods use; without a tag it has the tag "latest".
	Name string
	// ID is the digest of the contents as "sha256:" and 64 hex digits; "" computes it from the files.
	ID string
	// Files are the paths in the container and the static executables of the node they show.
	Files map[string]string
	// Entrypoint is the command line of a container that names none.
	Entrypoint []string
	// UID is the user the image runs as, by convention 65532 for one that is not root. The group is the same number.
	UID int64
}

// storedImage is an image with its derived names.
type storedImage struct {
	Image
	repository string // familiar name without tag: "podskew.dev/pod"
	tagged     string // with tag: "podskew.dev/pod:dev"
	size       uint64 // bytes of all files
}

// imageStore finds images; it never changes.
type imageStore struct {
	images []storedImage // by name
}

// newImageStore reads the images' files.
func newImageStore(images []Image) (*imageStore, error) {
	store := &imageStore{}
	for _, image := range images {
		stored, err := storeImage(image)
		if err != nil {
			return nil, err
		}
		if store.byTag(stored.tagged) != nil {
			return nil, fmt.Errorf("image %s is given twice", stored.tagged)
		}
		store.images = append(store.images, stored)
	}
	slices.SortFunc(store.images, func(a, b storedImage) int { return strings.Compare(a.tagged, b.tagged) })
	return store, nil
}

func storeImage(image Image) (storedImage, error) {
	ref, err := parseImageRef(image.Name)
	if err != nil {
		return storedImage{}, err
	}
	if ref.digest != "" {
		return storedImage{}, fmt.Errorf("image %s: an image is given by name and tag, not by digest", image.Name)
	}
	if len(image.Entrypoint) == 0 {
		return storedImage{}, fmt.Errorf("image %s has no entry point", image.Name)
	}
	digest, size, err := digestImage(image)
	if err != nil {
		return storedImage{}, fmt.Errorf("reading image %s: %w", image.Name, err)
	}
	if image.ID == "" {
		image.ID = digest
	}
	return storedImage{Image: image, repository: ref.repository, tagged: ref.repository + ":" + ref.tag, size: size}, nil
}

// digestImage returns the digest and the size in bytes of an image's contents; the digest is "" when the image
// carries its own.
func digestImage(image Image) (digest string, size uint64, err error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %d\n", image.Entrypoint, image.UID)
	for _, path := range slices.Sorted(maps.Keys(image.Files)) {
		f, err := os.Open(image.Files[path])
		if err != nil {
			return "", 0, err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return "", 0, err
		}
		size += uint64(info.Size())
		if image.ID != "" {
			continue
		}
		fmt.Fprintf(sum, "%q %d\n", path, info.Size())
		if _, err := io.Copy(sum, f); err != nil {
			return "", 0, err
		}
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), size, nil
}

// imageRef is a parsed image reference.
type imageRef struct {
	repository string // in familiar form: without docker.io/ and library/
	tag        string // "" with a digest
	digest     string // "sha256:..." or ""
}

// parseImageRef reads a reference as container engines do: docker.io is the default registry and "latest" the default
// tag, and with a digest the tag does not count. docker.io is left out of the result, so that a name is found with and
// without it.
func parseImageRef(name string) (imageRef, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return imageRef{}, fmt.Errorf("image reference %q: %w", name, err)
	}
	ref := imageRef{repository: reference.FamiliarName(named)}
	if digested, ok := named.(reference.Digested); ok {
		ref.digest = digested.Digest().String()
		return ref, nil
	}
	ref.tag = "latest"
	if tagged, ok := named.(reference.Tagged); ok {
		ref.tag = tagged.Tag()
	}
	return ref, nil
}

// find returns the image of a reference or an id; errNoImage if there is none.
func (st *imageStore) find(name string) (*storedImage, error) {
	for i := range st.images {
		if id := st.images[i].ID; name == id || name == strings.TrimPrefix(id, "sha256:") {
			return &st.images[i], nil
		}
	}
	ref, err := parseImageRef(name)
	if err != nil {
		return nil, err
	}
	if ref.digest == "" {
		if image := st.byTag(ref.repository + ":" + ref.tag); image != nil {
			return image, nil
		}
	}
	for i := range st.images {
		if st.images[i].ID == ref.digest && st.images[i].repository == ref.repository {
			return &st.images[i], nil
		}
	}
	return nil, fmt.Errorf("%w: %s; the lab has %s and pulls nothing", errNoImage, name, st.names())
}

// byTag returns the image of a familiar name with tag; nil if there is none.
func (st *imageStore) byTag(tagged string) *storedImage {
	for i := range st.images {
		if st.images[i].tagged == tagged {
			return &st.images[i]
		}
	}
	return nil
}

// names lists the images for a message.
func (st *imageStore) names() string {
	if len(st.images) == 0 {
		return "no images"
	}
	names := make([]string, 0, len(st.images))
	for _, image := range st.images {
		names = append(names, image.tagged)
	}
	return strings.Join(names, ", ")
}
