/* Browsers refuse workers on file://. There, the search's worker script runs in a hidden frame instead. */
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.ready = new Promise((done) => (this.frame.onload = done));
      const relay = `self.postMessage = (data) => parent.postMessage({ fromWorker: data }, "*")`;
      this.frame.srcdoc = `<script>${relay}<\/script><script src="${new URL(url, location)}"><\/script>`;
      this.hear = ({ source, data }) => source === this.frame.contentWindow && this.onmessage?.({ data: data.fromWorker });
      addEventListener("message", this.hear);
      document.body.append(this.frame);
    }
    postMessage(data) {
      const message = new MessageEvent("message", { data: structuredClone(data) }); // a worker never shares its caller's objects
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(message));
    }
    terminate() {
      removeEventListener("message", this.hear);
      this.frame.remove();
    }
  };
}
