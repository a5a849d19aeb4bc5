cdef tuple checked_device(object device)
cdef object make_capsule(Py_buffer *view, tuple device, object max_version, object dl_device, object copy)
