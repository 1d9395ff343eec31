package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// The media types of the OCI image specification, v1.
const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// created is when every image was made: an image made again of the same binaries is the same image.
const created = "1970-01-01T00:00:00Z"

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// imageConfig is what a container of the image starts with.
type imageConfig struct {
	platform

	Created string          `json:"created"`
	Config  containerConfig `json:"config"`
	RootFS  rootFS          `json:"rootfs"`
	History []history       `json:"history"`
}

// containerConfig has the capitals that Docker gave its JSON and the specification kept.
type containerConfig struct {
	User       string
	Entrypoint []string
	WorkingDir string
	Labels     map[string]string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// dockerManifest is an entry of manifest.json, which docker load goes by where it does not know OCI layouts.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive collects the files of an OCI image layout that is a docker-save archive as well: both name the same blobs.
type archive struct {
	top   []file
	blobs []file
}

// addImage adds the image of one architecture.
func (a *archive) addImage(arch string, program []byte, opts Options) (descriptor, dockerManifest, error) {
	content, err := layer(program)
	if err != nil {
		return descriptor{}, dockerManifest{}, err
	}
	fs := a.addBlob(mediaLayer, content)
	on := platform{Architecture: arch, OS: "linux"}
	config, err := a.addJSON(mediaConfig, imageConfig{
		platform: on, Created: created,
		Config:  containerConfig{User: User, Entrypoint: []string{Binary}, WorkingDir: "/", Labels: labels(opts)},
		RootFS:  rootFS{Type: "layers", DiffIDs: []string{fs.Digest}}, // the layer is not compressed: its digest is its content's
		History: []history{{Created: created, CreatedBy: "podskew image"}},
	})
	if err != nil {
		return descriptor{}, dockerManifest{}, err
	}
	m, err := a.addJSON(mediaManifest, manifest{SchemaVersion: 2, MediaType: mediaManifest, Config: config, Layers: []descriptor{fs}})
	m.Platform = &on
	return m, dockerManifest{Config: blobPath(config.Digest), RepoTags: []string{opts.Name}, Layers: []string{blobPath(fs.Digest)}}, err
}

func labels(opts Options) map[string]string {
	l := map[string]string{
		"org.opencontainers.image.title":       "podskew-pod",
		"org.opencontainers.image.description": "echo and agent, the roles inside podskew's pods",
		"org.opencontainers.image.source":      "https://github.com/podskew/podskew",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
	if opts.Version != "" {
		l["org.opencontainers.image.version"] = opts.Version
	}
	return l
}

// addTop adds what readers start from. Several architectures share an index of their own, so that the name stands for
// one thing; the index of the layout then names that.
func (a *archive) addTop(manifests []descriptor, docker []dockerManifest, name string) error {
	named := manifests[0]
	if len(manifests) > 1 {
		var err error
		if named, err = a.addJSON(mediaIndex, index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: manifests}); err != nil {
			return err
		}
	}
	named.Annotations = map[string]string{
		"io.containerd.image.name":          name,
		"org.opencontainers.image.ref.name": name[strings.LastIndex(name, ":")+1:],
	}
	for _, f := range []struct {
		name    string
		content any
	}{
		{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}},
		{"index.json", index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{named}}},
		{"manifest.json", docker},
	} {
		data, err := json.Marshal(f.content)
		if err != nil {
			return err
		}
		a.top = append(a.top, file{f.name, 0o644, data})
	}
	return nil
}

func (a *archive) addJSON(mediaType string, content any) (descriptor, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return descriptor{}, err
	}
	return a.addBlob(mediaType, data), nil
}

func (a *archive) addBlob(mediaType string, data []byte) descriptor {
	sum := sha256.Sum256(data)
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(data)}
	a.blobs = append(a.blobs, file{blobPath(d.Digest), 0o644, data})
	return d
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// write writes the archive, what says what is in it first.
func (a *archive) write(w io.Writer) error {
	slices.SortFunc(a.blobs, func(x, y file) int { return strings.Compare(x.name, y.name) })
	return writeTar(w, slices.Concat(a.top, a.blobs))
}
