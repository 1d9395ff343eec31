package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/podskew/podskew/lab/launch"
)

// proxyNames are the layer 7 proxies of the machine that the lab makes images of. Pods name such an image
// podskew.dev/NAME:lab.
func proxyNames() []string { return []string{"caddy", "haproxy", "nginx"} }

func proxyImageName(proxy string) string { return "podskew.dev/" + proxy + ":lab" }

// proxyImages are the images of the proxies that are installed and that no flag has named. One whose libraries are not
// all found is as good as not installed.
func proxyImages(beside string, given []launch.Image) []launch.Image {
	var images []launch.Image
	for _, proxy := range proxyNames() {
		name := proxyImageName(proxy)
		if slices.ContainsFunc(given, func(i launch.Image) bool { return i.Name == name }) {
			continue
		}
		file := findProxy(beside, proxy)
		if file == "" {
			continue
		}
		if image, err := proxyImage(name, file); err == nil {
			images = append(images, image)
		}
	}
	return images
}

// findProxy looks beside the lab's own binary, in PATH, and where the PATH of users who are not root does not lead; "": it
// is not installed.
func findProxy(beside, proxy string) string {
	for _, path := range []string{filepath.Join(beside, proxy), proxy, "/usr/sbin/" + proxy, "/usr/local/sbin/" + proxy} {
		found, err := exec.LookPath(path)
		if err != nil {
			continue
		}
		if found, err = filepath.Abs(found); err == nil {
			return found
		}
	}
	return ""
}

// proxyImage is the image of a binary and its libraries. Its ID is made of their names, sizes and times: reading tens of
// megabytes on every node would make each start of a lab longer.
func proxyImage(name, file string) (launch.Image, error) {
	libraries, err := librariesOf(file)
	if err != nil {
		return launch.Image{}, err
	}
	sum := sha256.New()
	for _, path := range append([]string{file}, libraries...) {
		info, err := os.Stat(path)
		if err != nil {
			return launch.Image{}, err
		}
		fmt.Fprintf(sum, "%q %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	return launch.Image{
		Name: name, File: file, Path: "/usr/local/bin/" + filepath.Base(file), Libraries: libraries,
		ID: "sha256:" + hex.EncodeToString(sum.Sum(nil)),
	}, nil
}
