/** The host's own device in the pod network (host-device.ts). */
export const HOST_DEVICE = 'polder0'
