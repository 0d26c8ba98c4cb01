"""The app in a real Chromium. Server and browser end with this package: Playwright's event loop must not outlive it."""
