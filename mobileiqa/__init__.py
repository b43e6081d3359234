from mobileiqa.interruption import at_start

at_start()
