package docker

import (
	"sync"
	"time"
)

// imageTime is how long an image's name stands for the same image without asking
// the engine: as long as a rebuilt one may go unnoticed.
const imageTime = 5 * time.Second

// imageCache remembers images for imageTime, because asking takes as long as a
// program in a waiting sandbox.
type imageCache struct {
	mu    sync.Mutex
	known map[string]knownImage
}

type knownImage struct {
	imageInfo
	until time.Time
}

func (c *imageCache) get(name string) (imageInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	img, ok := c.known[name]
	return img.imageInfo, ok && time.Now().Before(img.until)
}

func (c *imageCache) put(name string, img imageInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) > 100 {
		c.known = map[string]knownImage{}
	}
	c.known[name] = knownImage{img, time.Now().Add(imageTime)}
}
