/** What an adapter is asked for. */
interface Wanted {
  requiredFeatures?: Iterable<string>;
}
interface Adapter {
  readonly features: ReadonlySet<string>;
  requestDevice(wanted?: Wanted): Promise<unknown>;
}

/**
 * Has every device come with subgroups where its adapter has them. wgpu has no name for the feature in a browser and so
 * cannot ask for it; the engine looks at the device that it gets.
 */
export function askForSubgroups(): void {
  const { GPUAdapter } = globalThis as { GPUAdapter?: { prototype: Adapter } };
  if (!GPUAdapter) return;
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (this: Adapter, wanted: Wanted = {}) {
    const more = this.features.has("subgroups") ? ["subgroups"] : [];
    return requestDevice.call(this, { ...wanted, requiredFeatures: [...(wanted.requiredFeatures ?? []), ...more] });
  };
}
