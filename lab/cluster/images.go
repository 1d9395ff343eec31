package cluster

import (
	"fmt"
	"io"
	"os"

	"github.com/podskew/podskew/lab/boot"
)

// imagePath is where the i-th file of the images lies for all nodes.
func imagePath(i int) string { return fmt.Sprintf("%s/images/%d", boot.Base, i) }

// copyImages copies the inherited image files into the lab's tmpfs: the originals may change or vanish while the lab
// runs, and may lie where a user namespace's root cannot go.
func copyImages(n int) error {
	if err := os.Chmod(boot.Base+"/images", 0o755); err != nil {
		return err
	}
	for i := range n {
		if err := copyImage(i); err != nil {
			return fmt.Errorf("copying file %d of the images: %w", i, err)
		}
	}
	return nil
}

func copyImage(i int) error {
	from := os.NewFile(uintptr(boot.FDImages+i), "image")
	defer from.Close()
	to, err := os.OpenFile(imagePath(i), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		return err
	}
	return to.Close()
}
