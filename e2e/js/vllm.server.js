// A server with the public names of vLLM's gRPC services, by another implementation of
// gRPC than the Go tests have: node vllm.server.js FILE.proto. It says on its output
// where it listens and, one a line, what it was asked.
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const { vllm } = grpc.loadPackageDefinition(loader.loadSync(process.argv[2], { keepCase: true, enums: String }));
const server = new grpc.Server();
const open = new Map(); // generations that go on until they are aborted, as the engine's do

server.addService(vllm.Inference.service, {
  Generate: (call, done) => done({ code: grpc.status.UNIMPLEMENTED }),
  GenerateStream: (call) => {
    const { request_id, text } = call.request;
    console.log(`generate ${request_id} ${text}`);
    if (text.includes("too much")) {
      call.emit("error", { code: grpc.status.RESOURCE_EXHAUSTED, details: "Too much was asked." });
      return;
    }
    call.write({ prompt_info: { num_prompt_tokens: 12 }, outputs: { text: "Hello, ", num_tokens: 3 } });
    if (text.includes("forever")) {
      open.set(request_id, call);
      return;
    }
    call.write({ outputs: { text: "wörld", num_tokens: 2, finish_info: { num_output_tokens: 5, finish_reason: "STOP" } } });
    call.end();
  },
});
server.addService(vllm.Control.service, {
  Abort: (call, done) => {
    for (const id of call.request.request_ids) {
      console.log(`abort ${id} ${open.delete(id)}`);
    }
    done(null, {});
  },
});
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (err, port) => {
  if (err) throw err;
  console.log(`listening 127.0.0.1:${port}`);
});
